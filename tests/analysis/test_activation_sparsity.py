"""Zeros in the outputs of layers, against NumPy, in every kind of model."""

import keras
import numpy as np
import pytest

from keras_sac import activation_sparsity
from tests.analysis.counting import counted, relu, rows

layers = keras.layers


@pytest.fixture
def x(rng):
    return rng.normal(size=(23, 6)).astype("float32")


@pytest.mark.parametrize("batch_size", [1, 7, 23, 100])
def test_a_dense_network(x, batch_size):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="relu", name="a"),
            layers.Dropout(0.9, name="off"),
            layers.Dense(4, name="b"),
            layers.ReLU(name="c"),
        ]
    )
    first, bias, second, other = model.get_weights()
    a = relu(x @ first + bias)
    b = a @ second + other
    table = activation_sparsity(model, x, batch_size=batch_size)
    assert table["type"].tolist() == ["Dense", "Dropout", "Dense", "ReLU"]
    assert rows(table) == {
        "a": counted(a),
        "off": counted(a),
        "b": counted(b),
        "c": counted(relu(b)),
    }


def test_convolution_and_pooling(rng):
    images = rng.normal(size=(9, 7, 6, 2)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((7, 6, 2)),
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flat"),
        ]
    )
    kernel = model.get_weights()[0]
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    conv = relu(np.einsum("nyxchw,hwcf->nyxf", patches, kernel))
    pool = conv[:, :4].reshape(9, 2, 2, 2, 2, 3).max(axis=(2, 4))
    found = rows(activation_sparsity(model, images, batch_size=4))
    assert found == {"conv": counted(conv), "pool": counted(pool), "flat": counted(pool)}


def test_negative_zeros_count_and_the_smallest_numbers_do_not():
    tiny = np.float32(1e-30)
    values = np.array([[0.0, -0.0, tiny, 1.0], [np.nan, np.inf, 0.0, -tiny]], "float32")
    model = keras.Sequential([keras.Input((4,)), layers.Activation("linear", name="same")])
    assert rows(activation_sparsity(model, values)) == {"same": (4, 1.5)}


def test_shared_layers_count_with_all_their_calls(x):
    shared = layers.Dense(6, activation="relu", name="shared")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, shared(shared(inputs)))
    kernel, bias = model.get_weights()
    once = relu(x @ kernel + bias)
    both = np.concatenate([once, relu(once @ kernel + bias)], axis=1)
    assert rows(activation_sparsity(model, x)) == {"shared": counted(both)}


def test_nested_models_count_once(x):
    def block(name, units):
        inputs = keras.Input((6,))
        return keras.Model(inputs, layers.Dense(units, "relu", name="dense")(inputs), name=name)

    first, second = block("first", 6), keras.Sequential([block("inner", 3)], name="second")
    model = keras.Sequential([keras.Input((6,)), first, second])
    found = rows(activation_sparsity(model, x))
    a = relu(x @ model.get_weights()[0])
    b = relu(a @ model.get_weights()[2])
    assert found == {"first/dense": counted(a), "second/inner/dense": counted(b)}


@keras.saving.register_keras_serializable(package="test_activation_sparsity")
class Residual(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.branches = [layers.Dense(units, "relu", name="one"), layers.Dense(units, name="two")]

    def build(self, input_shape):
        self.branches[0].build(input_shape)
        self.branches[1].build((None, self.units))

    def call(self, inputs):
        out = inputs
        for layer in self.branches:
            out = layer(out)
        return keras.ops.relu(inputs + out)


class Subclassed(keras.Model):
    """Two outputs; the second is none of a layer's own."""

    def __init__(self):
        super().__init__(name="whole")
        self.residual = Residual(6, name="residual")
        self.head = layers.Dense(2, name="head")
        self.unused = layers.Dense(3, name="unused")

    def call(self, inputs):
        out = self.residual(inputs["x"])
        return {"head": self.head(out), "doubled": 2 * out}


# Keras does not expect a layer that is never called.
@pytest.mark.filterwarnings("ignore:`build\\(\\)` was called on layer 'whole'")
def test_subclassed_models_and_what_composite_layers_add(x):
    model = Subclassed()
    model({"x": x[:2]})
    one, bias, two, other, head, last = model.get_weights()
    a = relu(x @ one + bias)
    b = a @ two + other
    c = relu(x + b)
    found = rows(activation_sparsity(model, {"x": x}, batch_size=10))
    assert found == {
        "residual/one": counted(a),
        "residual/two": counted(b),
        "residual": counted(c),
        "head": counted(c @ head + last),
        "whole": counted(2 * c),
    }


def test_layers_of_integers_have_no_row():
    model = keras.Sequential(
        [
            keras.Input((2,), dtype="int32"),
            layers.Rescaling(1.0, dtype="int32", name="whole"),
            layers.Embedding(4, 3, embeddings_initializer="zeros", name="embedding"),
        ]
    )
    assert rows(activation_sparsity(model, np.zeros((5, 2), "int32"))) == {"embedding": (6, 6)}


def test_recurrent_layers_count_as_a_whole(rng):
    series = rng.normal(size=(5, 4, 3)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            layers.SimpleRNN(2, "relu", return_sequences=True, name="rnn"),
            layers.TimeDistributed(layers.Dense(3, "relu"), name="steps"),
            layers.Bidirectional(layers.GRU(2, name="gru"), name="both"),
        ]
    )
    kernel, recurrent, bias = model.get_weights()[:3]
    state, states = np.zeros((5, 2)), []
    for step in range(4):
        state = relu(series[:, step] @ kernel + state @ recurrent + bias)
        states.append(state)
    table = activation_sparsity(model, series)
    found = rows(table)
    assert found["rnn"] == counted(np.stack(states, axis=1))
    assert found["steps"][0] == 4 * 3
    assert found["both"] == (4, 0)
    assert set(table["type"]) == {"SimpleRNN", "TimeDistributed", "GRU", "Bidirectional"}


def test_mixed_precision(x):
    policy = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu", dtype=policy, name="a")])
    found = rows(activation_sparsity(model, x))
    outputs = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32"))
    assert found == {"a": counted(outputs)}


def test_wrong_arguments(x):
    model = keras.Sequential([keras.Input((6,)), layers.ReLU()])
    for wrong in (0, -1, 2.5, None):
        with pytest.raises(ValueError, match="`batch_size` must be an integer >= 1"):
            activation_sparsity(model, x, batch_size=wrong)
    with pytest.raises(ValueError, match=r"Expected a `keras.Model`. Received: ReLU"):
        activation_sparsity(layers.ReLU(), x)
    with pytest.raises(ValueError, match="has no weights yet"):
        activation_sparsity(keras.Sequential([layers.Dense(2)]), x)
