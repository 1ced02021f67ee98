"""What is known of a variable: its axes, found by trying, and whether it is a kernel."""

import keras
import numpy as np
import pytest

from keras_sac._model import describe
from keras_sac.layers import SACDense
from tests.pruning.reference import numpy

L = keras.layers


def built(layer, *input_shape):
    layer.build((None, *input_shape))
    return layer


def of(variables, name, layers=()):
    """The description of the only variable of that name."""
    (found,) = [d for d in describe(variables, layers) if d.path.rsplit("/", 1)[-1] == name]
    return found


AXES = [
    ("dense", lambda **k: L.Dense(7, **k), (5,), "kernel"),
    ("conv1d", lambda **k: L.Conv1D(7, 3, **k), (8, 5), "kernel"),
    ("conv2d", lambda **k: L.Conv2D(7, 3, **k), (6, 6, 5), "kernel"),
    ("conv2d-1x1", lambda **k: L.Conv2D(7, 1, **k), (6, 6, 5), "kernel"),
    ("conv3d", lambda **k: L.Conv3D(7, 2, **k), (4, 4, 4, 5), "kernel"),
    ("conv1d_transpose", lambda **k: L.Conv1DTranspose(7, 3, **k), (8, 5), "kernel"),
    ("conv2d_transpose", lambda **k: L.Conv2DTranspose(7, 3, **k), (6, 6, 5), "kernel"),
    ("conv3d_transpose", lambda **k: L.Conv3DTranspose(7, 2, **k), (4, 4, 4, 5), "kernel"),
    ("square_transpose", lambda **k: L.Conv2DTranspose(5, 3, **k), (6, 6, 5), "kernel"),
    ("separable", lambda **k: L.SeparableConv2D(7, 3, **k), (6, 6, 5), "pointwise_kernel"),
]


@pytest.mark.parametrize("known", [True, False], ids=["layer", "variables"])
@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(("name", "make", "shape", "kernel"), AXES, ids=[a[0] for a in AXES])
def test_one_place_along_the_output_axis_makes_one_output(
    rng, name, make, shape, kernel, use_bias, known
):
    layer = built(make(use_bias=use_bias), *shape)
    variables = layer.trainable_variables
    described = of(variables, kernel, [layer] if known else [])
    assert described.skip_reason is None
    (variable,) = [v for v in variables if v.path == described.path]
    x = rng.normal(size=(2, *shape)).astype("float32")
    before, weights = numpy(layer(x)), numpy(variable).copy()
    assert before.shape[-1] == weights.shape[described.output_axis]
    cut = weights.copy()
    np.moveaxis(cut, described.output_axis, 0)[3] = 0
    variable.assign(cut)
    changed = np.abs(numpy(layer(x)) - before).reshape(-1, before.shape[-1]).max(axis=0) > 1e-6
    assert changed.tolist() == [j == 3 for j in range(before.shape[-1])]


@pytest.mark.parametrize("known", [True, False], ids=["layer", "variables"])
@pytest.mark.parametrize(
    ("name", "make", "shape", "kernel"), AXES[:-1], ids=[a[0] for a in AXES[:-1]]
)
def test_one_place_along_the_input_axis_reads_one_input(rng, name, make, shape, kernel, known):
    layer = built(make(), *shape)
    described = of(layer.trainable_variables, kernel, [layer] if known else [])
    x = rng.normal(size=(2, *shape)).astype("float32")
    without = x.copy()
    without[..., 2] = 0
    cut = numpy(layer.kernel).copy()
    np.moveaxis(cut, described.input_axis, 0)[2] = 0
    expected = numpy(layer(without))
    layer.kernel.assign(cut)
    np.testing.assert_allclose(numpy(layer(x)), expected, atol=1e-5)


@pytest.mark.parametrize(("known", "use_bias"), [(True, True), (True, False), (False, True)])
def test_the_inputs_of_attention_are_the_axis_that_it_sums_over(known, use_bias):
    # n:m has to run along what a product sums over: features of the query, not heads.
    layer = L.MultiHeadAttention(2, 3, use_bias=use_bias)
    layer.build((None, 5, 8), (None, 5, 8))
    described = {
        d.path.split("/")[-2]: d
        for d in describe(layer.trainable_variables, [layer] if known else [])
        if d.path.endswith("kernel")
    }
    for name in ("query", "key", "value"):
        assert described[name].shape == (8, 2, 3)
        assert described[name].input_axis == 0
    assert described["attention_output"].shape == (2, 3, 8)
    assert described["attention_output"].output_axis == 2
    assert described["attention_output"].input_axis in (0, 1)


KERNELS = [
    (lambda: built(L.Dense(3), 4), {"kernel"}),
    (lambda: built(L.Embedding(9, 4), 5), {"embeddings"}),
    (lambda: built(L.LSTM(3), 5, 4), {"kernel", "recurrent_kernel"}),
    (lambda: built(L.GRU(3), 5, 4), {"kernel", "recurrent_kernel"}),
    (lambda: built(L.SimpleRNN(3), 5, 4), {"kernel", "recurrent_kernel"}),
    (lambda: built(L.SeparableConv1D(3, 2), 8, 4), {"pointwise_kernel"}),
    (lambda: built(L.SeparableConv2D(3, 2), 8, 8, 4), {"pointwise_kernel"}),
    (lambda: built(L.Conv2D(8, 3, groups=2), 8, 8, 4), {"kernel"}),
    (lambda: built(SACDense(3, "random", rank=2), 4), {"learner"}),
    (lambda: built(L.BatchNormalization(), 8, 4), set()),
    (lambda: built(L.LayerNormalization(axis=[1, 2]), 8, 4), set()),
    (lambda: built(L.GroupNormalization(2), 8, 4), set()),
    (lambda: built(L.PReLU(), 8, 4), set()),
    (lambda: built(L.DepthwiseConv1D(3), 8, 4), set()),
    (lambda: built(L.DepthwiseConv2D(3), 8, 8, 4), set()),
    (lambda: built(L.DepthwiseConv2D(3, depth_multiplier=2), 8, 8, 4), set()),
    (lambda: built(L.DepthwiseConv2D(3, use_bias=False), 8, 8, 4), set()),
]


@pytest.mark.parametrize("known", [True, False], ids=["layer", "variables"])
@pytest.mark.parametrize(("make", "expected"), KERNELS)
def test_what_is_a_kernel(make, expected, known):
    layer = make()
    described = describe(layer.trainable_variables, [layer] if known else [])
    assert {d.path.rsplit("/", 1)[-1] for d in described if d.skip_reason is None} == expected


def test_a_convolution_with_a_group_for_each_channel_is_depthwise():
    layer = built(L.Conv2D(8, 3, groups=4, name="mix"), 8, 8, 4)
    known = of(layer.trainable_variables, "kernel", [layer])
    assert "depthwise" in known.skip_reason
    assert (known.input_axis, known.output_axis) == (3, 3)
    # Without the layer it looks like a convolution of images with one channel, unless it is named.
    assert of(layer.trainable_variables, "kernel").skip_reason is None
    named = built(L.Conv2D(4, 7, groups=4, name="stage_0_depthwise_conv"), 8, 8, 4)
    assert "depthwise" in of(named.trainable_variables, "kernel").skip_reason
    assert of(built(L.Conv2D(8, 3), 8, 8, 1).variables, "kernel").skip_reason is None


def test_subclasses_have_the_axes_of_their_class():
    class UpBlock(L.Conv2DTranspose):
        pass

    class Mixing(L.DepthwiseConv2D):
        pass

    up, mixing = built(UpBlock(5, 3), 6, 6, 5), built(Mixing(3), 6, 6, 5)
    assert of(up.variables, "kernel", [up]).output_axis == 2
    assert "depthwise" in of(mixing.variables, "kernel", [mixing]).skip_reason


@pytest.mark.parametrize(
    ("layer", "guessed"),
    [
        (L.Conv2DTranspose(5, 3, name="up"), True),
        (L.Conv2D(5, 3, use_bias=False, name="block"), True),
        (L.Conv2DTranspose(5, 3, name="up_transpose"), False),
        (L.Conv2D(5, 3, use_bias=False, name="conv_1"), False),
        (L.Conv2DTranspose(7, 3, name="up"), False),
        (L.Dense(5, name="up"), False),
    ],
)
def test_axes_without_evidence_are_marked_as_a_guess(layer, guessed):
    layer.build((None, 6, 6, 5))
    assert of(layer.variables, "kernel").is_guessed == guessed
    assert not of(layer.variables, "kernel", [layer]).is_guessed


def with_zeros(rng, layer, *input_shape):
    layer.build((None, *input_shape))
    kernel = layer.weights[0]
    values = rng.normal(size=kernel.shape)
    # Every column keeps a large weight, which sets the scale of its integers.
    values[(np.abs(values) < 1) & (np.abs(values) < np.abs(values).max(axis=0))] = 0
    kernel.assign(values)
    return layer


QUANTIZED = [
    ("dense", lambda: L.Dense(6, use_bias=False), (256,), "int8"),
    ("dense", lambda: L.Dense(6, use_bias=False), (256,), "int4"),
    ("odd", lambda: L.Dense(5, use_bias=False), (10,), "int4"),
    ("einsum", lambda: L.EinsumDense("ab,bcd->acd", (2, 3)), (256,), "int8"),
    ("einsum", lambda: L.EinsumDense("ab,bcd->acd", (2, 3)), (256,), "int4"),
]


@pytest.mark.parametrize(("name", "make", "shape", "mode"), QUANTIZED)
def test_the_zeros_of_a_quantized_kernel_are_those_of_its_product(rng, name, make, shape, mode):
    layer = with_zeros(rng, make(), *shape)
    layer.quantize(mode)
    kernel = of(layer.variables, "kernel", [layer])
    effective = numpy(layer(np.eye(shape[0], dtype="float32")))
    assert 0.5 < np.mean(effective == 0) < 0.9
    values = kernel.values().reshape(effective.shape)
    np.testing.assert_array_equal(values == 0, effective == 0)
    assert "before `quantize`" in kernel.locked


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_zeros_of_a_quantized_embedding(rng, mode):
    layer = with_zeros(rng, L.Embedding(20, 256))
    layer.quantize(mode)
    effective = numpy(layer(np.arange(20)))
    values = of(layer.variables, "embeddings", [layer]).values()
    np.testing.assert_array_equal(values == 0, effective == 0)
    assert 0.5 < np.mean(values == 0) < 0.9


def test_low_rank_adapters_are_part_of_the_kernel(rng):
    layer = with_zeros(rng, L.Dense(6, use_bias=False), 8)
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(rng.normal(size=(2, 6)))
    kernel = of(layer.variables, "kernel", [layer])
    np.testing.assert_allclose(kernel.values(), numpy(layer(np.eye(8))), atol=1e-6)
    assert "before `enable_lora`" in kernel.locked
    assert of(built(L.Dense(3), 4).variables, "kernel").locked is None


def test_each_reason_is_named():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            L.DepthwiseConv2D(3, name="dw"),
            L.BatchNormalization(name="norm"),
            L.PReLU(name="act"),
        ]
    )
    reasons = {d.path.split("/", 1)[1]: d for d in describe(model.trainable_variables)}
    assert "depthwise" in reasons["dw/kernel"].skip_reason
    assert "bias" in reasons["dw/bias"].skip_reason
    assert "normalization" in reasons["norm/gamma"].skip_reason
    assert "names of kernels" in reasons["act/alpha"].skip_reason
    # An unknown variable may be selected; others only by themselves.
    assert [d.never for d in reasons.values()] == [True, True, True, True, False]


def test_a_layer_of_one_filter_is_known_by_its_layer():
    layer = built(L.Conv2D(1, 3, use_bias=False), 8, 8, 4)
    assert of(layer.trainable_variables, "kernel", [layer]).skip_reason is None
    # Without it the kernel has the shape of a depthwise one: rather left alone, and reported.
    assert of(layer.trainable_variables, "kernel").skip_reason is not None


def test_the_layers_inside_a_layer_are_found():
    layer = built(L.Bidirectional(L.LSTM(3)), 5, 4)
    described = describe(layer.trainable_variables, [layer])
    assert sum(d.skip_reason is None for d in described) == 4
    model = keras.Sequential([keras.Input((6, 6, 5)), L.Conv2DTranspose(5, 3, name="up")])
    outer = keras.Sequential([keras.Input((6, 6, 5)), model])
    assert of(outer.trainable_variables, "kernel", [outer]).output_axis == 2


def test_index_shape_and_size_are_those_of_the_variable():
    layer = built(L.Conv2D(7, (3, 2)), 8, 8, 5)
    kernel, bias = describe(layer.trainable_variables)
    assert (kernel.index, kernel.shape, kernel.size) == (0, (3, 2, 5, 7), 210)
    assert (bias.index, bias.shape, bias.size) == (1, (7,), 7)
    assert kernel.path == layer.kernel.path
