"""Stock layers to SAC layers: the round trip with full-rank factors, and what is refused."""

import keras
import numpy as np
import pytest

from keras_sac import register_layer
from keras_sac.layers import (
    SACConv1D,
    SACConv2D,
    SACConv3D,
    SACDense,
    SACEinsumDense,
    SubspaceLayer,
    sac_class_of,
    why_no_sac_class,
)
from tests.layers.test_subspace_layer import SACTransposed, Transposed, TransposedKind

layers = keras.layers


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def built(layer, shape, rng):
    layer.build((None, *shape))
    layer.set_weights([rng.normal(size=w.shape).astype("float32") for w in layer.weights])
    return layer


# Layer, shape of its inputs, class, arguments, axes of the rows and columns of the kernel matrix.
ROUND_TRIPS = {
    "dense": (lambda: layers.Dense(7), (3, 9), SACDense, {}, (0,), (1,)),
    "dense without bias": (lambda: layers.Dense(7, use_bias=False), (9,), SACDense, {}, (0,), (1,)),
    "conv1d": (
        *(lambda: layers.Conv1D(7, 3, padding="causal"), (9, 4), SACConv1D, {}),
        *((0, 1), (2,)),
    ),
    "conv2d": (
        *(lambda: layers.Conv2D(7, (3, 2), strides=2), (8, 9, 4), SACConv2D),
        *({"reading": "patches"}, (0, 1, 2), (3,)),
    ),
    "conv2d channels": (
        *(lambda: layers.Conv2D(7, (3, 2), dilation_rate=2), (8, 9, 4), SACConv2D),
        *({"reading": "channels"}, (2,), (0, 1, 3)),
    ),
    "conv2d spatial": (
        *(lambda: layers.Conv2D(7, (3, 2), padding="same"), (8, 9, 4), SACConv2D),
        *({"reading": "spatial"}, (0, 2), (1, 3)),
    ),
    "conv3d spatial": (
        *(lambda: layers.Conv3D(5, 2, use_bias=False), (4, 4, 4, 3), SACConv3D),
        *({"reading": "spatial"}, (0, 3), (1, 2, 4)),
    ),
    "einsum": (
        lambda: layers.EinsumDense("abc,dbe->adec", (3, 4, None), bias_axes="de"),
        *((9, 5), SACEinsumDense, {}, (1,), (0, 2)),
    ),
    "einsum without bias": (
        lambda: layers.EinsumDense("...x,yx->...y", 6),
        *((4, 8), SACEinsumDense, {}, (1,), (0,)),
    ),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_full_rank_factors_give_the_layer_back(rng, name):
    make, shape, wanted, arguments, rows, columns = ROUND_TRIPS[name]
    stock = built(make(), shape, rng)
    kernel = stock.get_weights()[0]
    width = np.prod([kernel.shape[axis] for axis in rows])
    basis, learner = np.linalg.qr(kernel.transpose(*rows, *columns).reshape(width, -1))
    layer = wanted.from_stock_layer(stock, basis, learner, **arguments)
    assert sac_class_of(stock) is wanted
    assert why_no_sac_class(stock) is None
    assert layer.built
    assert layer.name == stock.name
    x = rng.normal(size=(3, *shape)).astype("float32")
    expected = numpy(stock(x))
    np.testing.assert_allclose(numpy(layer(x)), expected, atol=1e-5 * np.abs(expected).max())
    again = layer.to_dense()
    for mine, theirs in zip(again.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6 * np.abs(kernel).max())
    mine, theirs = again.get_config(), stock.get_config()
    assert {key for key in mine if mine[key] != theirs[key]} <= {"output_shape"}


def test_what_the_stock_layer_has_is_kept(rng):
    stock = layers.Conv2D(
        *(6, 3),
        activation="tanh",
        padding="same",
        kernel_regularizer="l2",
        bias_regularizer=keras.regularizers.L1(0.3),
        bias_constraint="non_neg",
        activity_regularizer=keras.regularizers.L2(0.2),
        dtype="mixed_bfloat16",
        trainable=False,
        name="mine",
    )
    stock.build((None, 8, 8, 4))
    basis, learner = rng.normal(size=(4, 2)), rng.normal(size=(2, 54))
    layer = SACConv2D.from_stock_layer(
        *(stock, basis, learner), reading="channels", learner_regularizer="l1"
    )
    assert layer.dtype_policy.name == "mixed_bfloat16"
    assert (layer.trainable, layer.trainable_weights) == (False, [])
    assert layer.activation is stock.activation
    assert layer.bias_regularizer is stock.bias_regularizer
    assert layer.bias_constraint is stock.bias_constraint
    assert layer.activity_regularizer is stock.activity_regularizer
    assert isinstance(layer.learner_regularizer, keras.regularizers.L1)
    np.testing.assert_allclose(numpy(layer.learner), learner, atol=1e-6)


def test_an_activation_that_keras_cannot_name(rng):
    stock = built(layers.Dense(4, activation=lambda x: 2 * x), (5,), rng)
    layer = SACDense.from_stock_layer(stock, np.eye(5), stock.get_weights()[0])
    x = rng.normal(size=(3, 5)).astype("float32")
    np.testing.assert_allclose(numpy(layer(x)), numpy(stock(x)), atol=1e-5)


def test_another_bias(rng):
    dense = built(layers.Dense(4, use_bias=False), (5,), rng)
    bias = rng.normal(size=4).astype("float32")
    layer = SACDense.from_stock_layer(dense, np.eye(5), dense.get_weights()[0], bias=bias)
    np.testing.assert_array_equal(numpy(layer.bias), bias)
    # One number for each output, in the order of the kernel (d, e); the outputs have (e, d).
    einsum = built(layers.EinsumDense("abc,cde->abed", (None, 4, 3)), (5, 6), rng)
    learner = einsum.get_weights()[0].reshape(6, 12)
    bias = rng.normal(size=12).astype("float32")
    for each in (bias, bias.reshape(3, 4).T):
        layer = SACEinsumDense.from_stock_layer(einsum, np.eye(6), learner, bias=each)
        np.testing.assert_array_equal(numpy(layer.bias), bias.reshape(3, 4).T)
        assert layer.bias_axes == "ed"


def test_the_projections_of_attention(rng, tmp_path):
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=3)
    query, value = keras.Input((5, 8)), keras.Input((6, 4))
    model = keras.Model([query, value], attention(query, value))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = [rng.normal(size=(2, *each.shape[1:])).astype("float32") for each in (query, value)]
    for each in (attention, loaded.layers[-1]):
        for name, rows in {"query": 8, "key": 4, "value": 4, "attention_output": 6}.items():
            dense = next(d for d in each._flatten_layers() if d.name == name)
            basis, learner = np.linalg.qr(dense.get_weights()[0].reshape(rows, -1))
            assert sac_class_of(dense) is SACEinsumDense
            layer = SACEinsumDense.from_stock_layer(dense, basis, learner)
            z = x[0] if name == "query" else x[1]
            if name == "attention_output":
                z = rng.normal(size=(2, 5, 2, 3)).astype("float32")
            np.testing.assert_allclose(numpy(layer(z)), numpy(dense(z)), atol=1e-5)


class OwnDense(layers.Dense):
    pass


def quantized():
    layer = layers.Dense(4)
    layer.build((None, 8))
    layer.quantize("int8")
    return layer


def with_lora():
    layer = layers.Conv2D(4, 3)
    layer.build((None, 8, 8, 2))
    layer.enable_lora(2)
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: layers.BatchNormalization(), "no SAC layer stands for BatchNormalization"),
        (lambda: layers.DepthwiseConv2D(3), "no SAC layer stands for DepthwiseConv2D"),
        (lambda: OwnDense(4), "no SAC layer stands for OwnDense"),
        (lambda: layers.Conv2D(4, 3, groups=2), "its channels are in 2 groups"),
        (lambda: layers.EinsumDense("abc,bcd->abd", (3, 2)), "abc,bcd->abd does not factor"),
        (lambda: layers.Dense(4), "it is not built"),
        (quantized, "it is quantized"),
        (with_lora, "it has LoRA adapters"),
    ],
)
def test_layers_that_no_sac_layer_stands_for(make, reason):
    layer = make()
    assert sac_class_of(layer) is None
    assert reason in why_no_sac_class(layer)
    with pytest.raises(ValueError, match="from_stock_layer|cannot become"):
        {layers.Conv2D: SACConv2D, layers.EinsumDense: SACEinsumDense}.get(
            type(layer), SACDense
        ).from_stock_layer(layer, np.eye(8), np.eye(8))


def test_derived_classes_count_if_they_say_how_they_are_made(rng):
    class Base(layers.Dense):
        pass

    class Derived(SACDense):
        stock_class = Base

    stock = built(Base(4), (5,), rng)
    assert sac_class_of(stock) is Derived
    made = Derived.from_stock_layer(stock, np.eye(5)[:, :3], np.ones((3, 4)))
    assert isinstance(made, Derived)
    # `SACTransposed` has no `arguments_from_stock`.
    assert why_no_sac_class(Transposed(4)) == "no SAC layer stands for Transposed"


def test_a_stock_class_from_elsewhere(rng):
    class Own(Transposed):
        pass

    class Factored(SACTransposed):
        stock_class = Own

        @classmethod
        def arguments_from_stock(cls, layer, use_bias):
            return {**super().arguments_from_stock(layer, use_bias), "units": layer.units}

    register_layer(Own, TransposedKind())
    stock = built(Own(4, activation="tanh"), (6,), rng)
    basis, learner = np.linalg.qr(stock.get_weights()[0].T)
    made = sac_class_of(stock).from_stock_layer(stock, basis, learner)
    assert isinstance(made, Factored)
    x = rng.normal(size=(3, 6)).astype("float32")
    np.testing.assert_allclose(numpy(made(x)), numpy(stock(x)), atol=1e-5)
    np.testing.assert_allclose(numpy(made.kernel), numpy(stock.kernel), atol=1e-5)


@pytest.mark.parametrize(
    ("basis", "learner", "bias", "message"),
    [
        (np.eye(4), np.ones((4, 4)), None, "`basis` of 'mine' must fit inputs of width 5"),
        (np.eye(5), np.ones((4, 4)), None, r"`learner` must have the shape \(5, 4\)"),
        (np.eye(5), np.full((5, 4), np.nan), None, "`learner` must be finite"),
        (np.eye(5), np.ones((5, 4)), np.ones(5), r"`bias` must have the shape \(4,\)"),
    ],
)
def test_factors_that_do_not_fit(basis, learner, bias, message):
    stock = layers.Dense(4, name="mine")
    stock.build((None, 5))
    with pytest.raises(ValueError, match=message):
        SACDense.from_stock_layer(stock, basis, learner, bias=bias)
    with pytest.raises(ValueError, match="of a stock class for SubspaceLayer"):
        SubspaceLayer.from_stock_layer(stock, basis, learner)
