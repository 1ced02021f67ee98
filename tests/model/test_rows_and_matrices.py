"""The table of layer classes: rows times matrix is the layer, and matrices are written back."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import KernelAxes, LayerKind, footprint, register_layer
from keras_sac._model import describe, kind_of, why_not_one_product
from keras_sac.pruning import sparsity

# Layers without a bias, whose output is one product of rows by a matrix; the shape of their inputs.
PRODUCTS = {
    "dense": (lambda: layers.Dense(3, use_bias=False), (2, 4)),
    "einsum": (lambda: layers.EinsumDense("abc,dce->abed", (None, 2, 3)), (5, 4)),
    "einsum of two axes": (lambda: layers.EinsumDense("abcd,cde->abe", (None, 5)), (4, 2, 3)),
    "einsum with dots": (lambda: layers.EinsumDense("...x,xy->...y", (5,)), (4, 3)),
    "conv1d": (lambda: layers.Conv1D(3, 2, strides=2, use_bias=False), (7, 2)),
    "conv1d causal": (
        lambda: layers.Conv1D(3, 3, padding="causal", dilation_rate=2, use_bias=False),
        (7, 2),
    ),
    "conv2d": (lambda: layers.Conv2D(4, (2, 3), padding="same", use_bias=False), (5, 6, 2)),
    "conv3d": (lambda: layers.Conv3D(2, 2, use_bias=False), (3, 4, 3, 2)),
}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def built(name):
    make, shape = PRODUCTS[name]
    layer = make()
    layer.build((None, *shape))
    return layer, shape


@pytest.mark.parametrize("name", PRODUCTS)
def test_rows_times_matrix_is_the_output(name, rng):
    layer, shape = built(name)
    x = rng.normal(size=(3, *shape)).astype("float32")
    kind = kind_of(layer)
    matrix = kind.kernels(layer)["kernel"].to_matrix(numpy(layer.kernel))
    product = kind.rows(layer, x) @ matrix
    # The order of columns is the kernel's; sorted, each position has the same numbers.
    expected = numpy(layer(x))
    if name == "einsum":
        expected = np.swapaxes(expected, 2, 3)
    np.testing.assert_allclose(product.ravel(), expected.ravel(), atol=1e-5)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_convolution_in_groups(rng, groups):
    layer = layers.Conv2D(8, 3, groups=groups, use_bias=False)
    x = rng.normal(size=(2, 5, 6, 4)).astype("float32")
    expected = numpy(layer(x))
    kind = kind_of(layer)
    axes = kind.kernels(layer)["kernel"]
    assert axes.groups == groups
    parts = np.split(axes.to_matrix(numpy(layer.kernel)), groups, axis=1)
    products = [rows @ part for rows, part in zip(kind.rows(layer, x), parts, strict=True)]
    np.testing.assert_allclose(np.concatenate(products, 1).ravel(), expected.ravel(), atol=1e-5)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_a_depthwise_convolution(rng, multiplier):
    layer = layers.DepthwiseConv2D(3, depth_multiplier=multiplier, use_bias=False)
    x = rng.normal(size=(2, 5, 6, 4)).astype("float32")
    expected = numpy(layer(x))
    kind = kind_of(layer)
    axes = kind.kernels(layer)["kernel"]
    assert (axes.groups, axes.depthwise) == (4, True)
    parts = np.split(axes.to_matrix(numpy(layer.kernel)), 4, axis=1)
    products = [rows @ part for rows, part in zip(kind.rows(layer, x), parts, strict=True)]
    np.testing.assert_allclose(np.concatenate(products, 1).ravel(), expected.ravel(), atol=1e-5)


def test_a_transposed_convolution_multiplies_its_channels(rng):
    layer = layers.Conv2DTranspose(3, 2, strides=2, use_bias=False)
    x = rng.normal(size=(2, 4, 3, 5)).astype("float32")
    expected = numpy(layer(x))
    kind = kind_of(layer)
    product = kind.rows(layer, x) @ kind.kernels(layer)["kernel"].to_matrix(numpy(layer.kernel))
    # With strides as large as the kernel the windows of the outputs do not overlap.
    windows = product.reshape(2, 4, 3, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5)
    np.testing.assert_allclose(windows.reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_matrix_is_written_back(name, rng):
    layer, _ = built(name)
    axes = kind_of(layer).kernels(layer)["kernel"]
    kernel = rng.normal(size=layer.kernel.shape).astype("float32")
    matrix = axes.to_matrix(kernel)
    np.testing.assert_array_equal(axes.from_matrix(matrix, kernel.shape), kernel)
    tensors = axes.from_matrix(keras.ops.convert_to_tensor(matrix), kernel.shape, keras.ops)
    np.testing.assert_array_equal(numpy(tensors), kernel)
    np.testing.assert_array_equal(numpy(axes.to_matrix(tensors, keras.ops)), matrix)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.EinsumDense("abc,bcd->abd", (3, 2)), (2, 3, 4)),
        (lambda: layers.SeparableConv2D(3, 2), (2, 3, 4, 4)),
        (lambda: layers.Embedding(9, 4), (2, 3)),
    ],
)
def test_layers_without_rows(make, shape):
    layer = make()
    assert kind_of(layer).rows(layer, np.ones(shape)) is None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: layers.Dense(3), None),
        (lambda: layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), None),
        (lambda: layers.EinsumDense("abc,cde->abde", (None, 3, 2)), "more than one matrix"),
        (lambda: layers.EinsumDense("abc,cd->abd", (4, 3), bias_axes="bd"), "several axes"),
        (lambda: layers.Conv2D(3, 1), None),
        (lambda: layers.Conv2D(3, 2), "larger than 1x1"),
        (lambda: layers.Conv2D(4, 1, groups=2), "in groups"),
        (lambda: layers.DepthwiseConv2D(1), "not a Dense"),
        (lambda: layers.LSTM(3), "not a Dense"),
        (lambda: layers.ReLU(), "not a Dense"),
    ],
)
def test_why_a_layer_is_not_one_product(make, reason):
    found = why_not_one_product(make())
    assert found is None if reason is None else reason in found


class Twice(layers.Dense):
    """A subclass that does more than its class."""

    def call(self, inputs):
        return 2.0 * super().call(inputs)


def test_a_subclass_is_known_by_its_class_but_is_no_product():
    assert kind_of(Twice(3)) is kind_of(layers.Dense(3))
    assert "not a Dense" in why_not_one_product(Twice(3))


class Mixing(layers.Layer):
    def build(self, input_shape):
        self.mixing = self.add_weight(shape=(3, input_shape[-1]), name="mixing")

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.mixing))


class MixingKind(LayerKind):
    def kernels(self, layer):
        return {"mixing": KernelAxes(inputs=(1,), outputs=(0,))}

    def uses(self, layer, input_shape, output_shape):
        return input_shape[0]


@pytest.fixture
def registered(monkeypatch):
    from keras_sac._model import _layer_table

    monkeypatch.setattr(_layer_table, "_KINDS", dict(_layer_table._KINDS))
    register_layer(Mixing, MixingKind())


def test_an_unknown_layer_is_named_and_not_guessed():
    model = keras.Sequential([keras.Input((5,)), Mixing(name="mix"), layers.Dense(2)])
    with pytest.warns(UserWarning, match=r"mix \(Mixing\).*register_layer"):
        table = footprint(model)
    assert table["macs"].isna().tolist() == [True, False]
    assert table.attrs["total"]["macs"] is None


def test_a_registered_layer_is_counted_and_pruned(registered):
    model = keras.Sequential([keras.Input((5,)), Mixing(), layers.Dense(2)])
    assert footprint(model)["macs"].tolist() == [15, 6]
    assert sparsity(model)["weights"].tolist() == [15, 6]
    kernel = describe(model.weights, [model])[0]
    assert (kernel.output_axis, kernel.input_axis) == (0, 1)


@pytest.mark.parametrize(
    ("layer_class", "kind", "message"),
    [
        (Mixing(), MixingKind(), "`layer_class` must be a subclass"),
        (int, MixingKind(), "`layer_class` must be a subclass"),
        (Mixing, MixingKind, "`kind` must be an instance"),
    ],
)
def test_what_cannot_be_registered(layer_class, kind, message):
    with pytest.raises(ValueError, match=message):
        register_layer(layer_class, kind)
