"""Layers that run as CSR products: outputs, masks, saving, training that is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac._model import why_not_one_product
from keras_sac.sparse_runtime._matrix_layer import kernel_of
from keras_sac.sparse_runtime._sparse_dense import SparseDense, sparse_of
from tests.children import python

BACKENDS = ("tensorflow", "torch", "jax")

# Layer, shape of an input. Channels come first in the layers whose name says so.
LAYERS = {
    "dense": (lambda: layers.Dense(7, activation="relu"), (12,)),
    "no bias": (lambda: layers.Dense(7, use_bias=False), (12,)),
    "axes": (lambda: layers.Dense(7, activation="softmax"), (3, 2, 12)),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d"), (3, 12)),
    "einsum any": (lambda: layers.EinsumDense("...x,xy->...y", 7), (3, 12)),
    "conv1d": (lambda: layers.Conv1D(7, 1, padding="causal", activation="tanh"), (5, 12)),
    "conv2d": (lambda: layers.Conv2D(7, 1, dilation_rate=2), (5, 4, 12)),
    "conv2d strided": (lambda: layers.Conv2D(7, 1, strides=(2, 3)), (5, 7, 12)),
    "conv2d same": (lambda: layers.Conv2D(7, 1, strides=2, padding="same"), (5, 4, 12)),
    "conv3d": (lambda: layers.Conv3D(7, 1, activation="relu", use_bias=False), (2, 3, 4, 12)),
    "first": (lambda: layers.Conv2D(7, 1, data_format="channels_first"), (12, 5, 4)),
    "first strided": (
        lambda: layers.Conv1D(7, 1, strides=2, data_format="channels_first"),
        (12, 5),
    ),
}


@pytest.fixture(params=LAYERS)
def named(request, rng):
    make, shape = LAYERS[request.param]
    layer = make()
    layer.build((None, *shape))
    sparsify(layer, rng)
    return layer, shape


def sparsify(layer, rng, sparsity=0.7):
    for weight in layer.weights:
        values = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            values *= rng.random(weight.shape) >= sparsity
        weight.assign(values)


def expected(layer, x):
    """By NumPy in float64, also where a CPU has no convolution with the channels first."""
    first = getattr(layer, "data_format", None) == "channels_first"
    y = np.moveaxis(x, 1, -1) if first else x
    for axis, stride in enumerate(getattr(layer, "strides", ()), 1):
        y = np.take(y, range(0, y.shape[axis], stride), axis)
    y = y.astype("float64") @ kernel_of(layer)
    if layer.bias is not None:
        y = y + keras.ops.convert_to_numpy(layer.bias)
    y = keras.ops.convert_to_numpy(layer.activation(keras.ops.convert_to_tensor(y)))
    return np.moveaxis(y, -1, 1) if first else y


def in_a_model(layer, shape):
    return keras.Sequential([keras.Input(shape), layer])


def test_outputs_are_those_of_the_layer(named, rng):
    layer, shape = named
    new = sparse_of(layer)
    assert new.name == layer.name
    model = in_a_model(new, shape)
    # The shape is known without running, and with axes that are not.
    shape_out = expected(layer, np.zeros((1, *shape), "float32")).shape
    assert model.output_shape == (None, *shape_out[1:])
    for rows in (1, 5, 3, 1):
        x = rng.normal(size=(rows, *shape)).astype("float32")
        exact = expected(layer, x)
        eager = keras.ops.convert_to_numpy(new(keras.ops.convert_to_tensor(x)))
        np.testing.assert_allclose(eager, exact, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(model.predict_on_batch(x), exact, rtol=1e-5, atol=1e-5)
    x = rng.normal(size=(10, *shape)).astype("float32")
    predicted = model.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(predicted, expected(layer, x), rtol=1e-5, atol=1e-5)


def test_expected_is_what_keras_computes(named, rng):
    layer, shape = named
    first = getattr(layer, "data_format", None) == "channels_first"
    if keras.backend.backend() == "tensorflow" and first:
        return  # It has no such convolution on the CPU.
    x = rng.normal(size=(3, *shape)).astype("float32")
    output = keras.ops.convert_to_numpy(layer(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(output, expected(layer, x), rtol=1e-5, atol=1e-5)


def test_axes_of_unknown_size(rng):
    layer = layers.Conv2D(4, 1, strides=2)
    layer.build((None, None, None, 6))
    sparsify(layer, rng)
    model = in_a_model(sparse_of(layer), (None, None, 6))
    assert model.output_shape == (None, None, None, 4)
    for rows, height, width in ((2, 5, 4), (1, 1, 1), (3, 2, 7)):
        x = rng.normal(size=(rows, height, width, 6)).astype("float32")
        np.testing.assert_allclose(model.predict_on_batch(x), expected(layer, x), atol=1e-5)


def test_saved_and_loaded(named, rng, tmp_path):
    layer, shape = named
    model = in_a_model(sparse_of(layer), shape)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.layers[0], SparseDense)
    x = rng.normal(size=(3, *shape)).astype("float32")
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
    # TensorFlow's copy of the earlier weights must not be used.
    again.layers[0].set_weights([2 * w if w.dtype == "float32" else w for w in model.get_weights()])
    twice = sparse_of(layer)
    twice.set_weights(again.layers[0].get_weights())
    eager = [keras.ops.convert_to_numpy(each(x)) for each in (again.layers[0], twice)]
    np.testing.assert_array_equal(*eager)


CHILD = """
import sys
import numpy as np
import keras
import keras_sac.sparse_runtime._sparse_dense
model = keras.models.load_model(sys.argv[1] + "/model.keras")
np.save(sys.argv[1] + "/y.npy", model.predict(np.load(sys.argv[1] + "/x.npy"), verbose=0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("other", BACKENDS)
def test_saved_here_loaded_there(other, rng, tmp_path):
    first, last = layers.Conv2D(6, 1, activation="relu"), layers.Dense(3)
    first.build((None, 4, 3, 5))
    last.build((None, 72))
    for layer in (first, last):
        sparsify(layer, rng)
    model = keras.Sequential(
        [keras.Input((4, 3, 5)), sparse_of(first), layers.Flatten(), sparse_of(last)]
    )
    x = rng.normal(size=(7, 4, 3, 5)).astype("float32")
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    python("-c", CHILD, tmp_path, KERAS_BACKEND=other)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-5)


def test_nothing_is_trained(rng):
    layer = layers.Dense(4)
    layer.build((None, 6))
    sparsify(layer, rng)
    new = sparse_of(layer)
    assert new.trainable_weights == []
    new.trainable = True
    assert new.trainable_weights == []
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6), new])
    model.compile("sgd", "mse")
    assert np.isfinite(model.evaluate(np.ones((4, 6)), np.ones((4, 4)), verbose=0))
    with pytest.raises(ValueError, match="for inference.*to_sparse_runtime"):
        model.fit(np.ones((4, 6)), np.ones((4, 4)), verbose=0)


def test_compiled_by_xla_where_it_can_be(rng):
    layer = layers.Dense(4)
    layer.build((None, 6))
    sparsify(layer, rng)
    model = in_a_model(sparse_of(layer), (6,))
    if keras.backend.backend() == "jax":
        model.compile(jit_compile=True)
    else:
        with pytest.warns(UserWarning, match="doesn't support `jit_compile=True`"):
            model.compile(jit_compile=True)
    for rows in (1, 3):
        x = rng.normal(size=(rows, 6)).astype("float32")
        np.testing.assert_allclose(model.predict_on_batch(x), expected(layer, x), atol=1e-5)


def test_a_mask_goes_where_it_went(rng):
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    dense = layers.Dense(4)
    dense.build((None, 3, 5))
    sparsify(dense, rng)
    embedding, pooling = layers.Embedding(6, 5, mask_zero=True), layers.GlobalAveragePooling1D()
    outputs = []
    for layer in (dense, sparse_of(dense)):
        inputs = keras.Input((3,), dtype="int32")
        model = keras.Model(inputs, pooling(layer(embedding(inputs))))
        outputs.append(model.predict(tokens, verbose=0))
    np.testing.assert_allclose(*outputs, atol=1e-5)
    einsum = layers.EinsumDense("abc,cd->abd", (None, 7))
    einsum.build((None, 3, 5))
    assert sparse_of(dense).supports_masking
    assert not sparse_of(einsum).supports_masking


def test_a_kernel_with_a_low_rank_update(rng):
    layer = layers.Dense(4)
    layer.build((None, 6))
    layer.enable_lora(2)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(3, 6)).astype("float32")
    new = keras.ops.convert_to_numpy(sparse_of(layer)(x))
    np.testing.assert_allclose(new, keras.ops.convert_to_numpy(layer(x)), atol=1e-4)


class Own(layers.Dense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


REFUSED = {
    "not a Dense": lambda: Own(4),
    "more than one matrix product": lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 4)),
    "several axes": lambda: layers.EinsumDense("abc,cd->abd", (3, 4), bias_axes="bd"),
    "larger than 1x1": lambda: layers.Conv1D(4, 2),
    "in groups": lambda: layers.Conv1D(4, 1, groups=2),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_product(reason):
    layer = REFUSED[reason]()
    layer.build((None, 3, 6))
    assert reason in why_not_one_product(layer)


def test_a_quantized_layer_is_no_product():
    layer = layers.Dense(4)
    layer.build((None, 6))
    assert why_not_one_product(layer) is None
    layer.quantize("int8")
    assert why_not_one_product(layer) == "it is quantized"
