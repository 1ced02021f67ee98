"""Models to export, pruned and with SAC layers."""

import keras
import numpy as np
from keras import layers

from keras_sac import SACDense, bases, convert_to_sac, prune_to_sparsity


def pruned(model, sparsity=0.8):
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(size=weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 2.0, size=weight.shape))
    prune_to_sparsity(model, sparsity)
    return model


def image_classifier():
    """Convolutions, normalization, a SAC layer that is not merged, a dense head."""
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(6, 3, activation="relu")(inputs)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.SeparableConv2D(8, 3, padding="same", strides=2)(hidden)
    hidden = layers.Flatten()(hidden)
    basis = bases.pca(np.random.default_rng(4).normal(1.0, 1.0, (200, 72)), 7)
    hidden = SACDense(20, basis, center=True, activation="tanh", name="sac")(hidden)
    return pruned(keras.Model(inputs, layers.Dense(5, activation="softmax")(hidden)))


def two_inputs():
    """Inputs and outputs whose names are not in alphabetical order."""
    b, a = keras.Input((4,), name="b"), keras.Input((6,), name="a")
    hidden = layers.Concatenate()([layers.Dense(30, activation="relu")(b), a])
    return pruned(keras.Model([b, a], [layers.Dense(2)(hidden), layers.Dense(7)(hidden)]))


def dicts():
    inputs = {"q": keras.Input((4,), name="q"), "d": keras.Input((6,), name="d")}
    hidden = layers.Concatenate()([layers.Dense(30)(inputs["q"]), inputs["d"]])
    return pruned(keras.Model(inputs, {"z": layers.Dense(2)(hidden), "c": layers.Dense(7)(hidden)}))


def recurrent(unroll=False):
    inputs = keras.Input((7, 3))
    hidden = layers.GRU(5, return_sequences=True, unroll=unroll)(inputs)
    hidden = layers.LSTM(6, unroll=unroll)(hidden)
    return pruned(keras.Model(inputs, layers.Dense(2)(hidden)))


def unrolled():
    return recurrent(unroll=True)


def attention():
    """Integers of any length."""
    inputs = keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(10, 8)(inputs)
    hidden = layers.MultiHeadAttention(2, 4)(hidden, hidden)
    return pruned(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(hidden))))


def half_precision():
    return pruned(
        keras.Sequential(
            [
                keras.Input((8,)),
                layers.Dense(32, activation="relu", dtype="mixed_float16"),
                layers.Dense(3, dtype="float32"),
            ]
        )
    )


def sparse_head():
    """More classes than are compared pairwise: a search whose length depends on the data."""
    return pruned(
        keras.Sequential(
            [
                keras.Input((8,)),
                SACDense(64, "random", rank=3, activation="relu"),
                layers.Dense(40, activation="keras_sac>sparsemax"),
            ]
        )
    )


def fixed_batch():
    return pruned(keras.Sequential([keras.Input(batch_shape=(4, 8)), layers.Dense(16)]))


def without_input():
    model = keras.Sequential([layers.Dense(4, activation="relu"), layers.Dense(2)])
    model.build((None, 5))
    return pruned(model)


def transposed():
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Conv2DTranspose(4, 3, strides=2)(layers.DepthwiseConv2D(3)(inputs))
    return pruned(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(hidden))))


class Plain(keras.Model):
    """A subclassed model of stock layers."""

    def __init__(self, last=None, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.last = layers.Dense(16), last or layers.Dense(2)

    def call(self, inputs):
        return self.last(keras.ops.relu(self.hidden(inputs)))


def subclassed(last=None):
    model = Plain(last)
    model(np.ones((2, 5), "float32"))
    return pruned(model)


def converted():
    """What `convert_to_sac` returns."""
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(12, 3, activation="relu")(inputs)
    hidden = layers.Conv2D(16, 3, padding="same", strides=2)(hidden)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.Conv2D(12, 3, padding="same", activation="relu")(hidden)
    hidden = layers.Dense(10)(layers.Flatten()(hidden))
    x = np.random.default_rng(5).normal(size=(40, 8, 8, 3)).astype("float32")
    model, report = convert_to_sac(keras.Model(inputs, hidden), x, parameters=0.4, verbose=0)
    assert (report["method"] == "low_rank").sum() >= 3
    return model


MODELS = (
    *(
        converted,
        two_inputs,
        dicts,
        recurrent,
        unrolled,
        attention,
        half_precision,
        sparse_head,
        fixed_batch,
    ),
    *(without_input, transposed, subclassed),
)
# The formats that each backend writes, and the models to export.
WRITTEN_HERE = {
    "tensorflow": (("tf_saved_model", "litert", "openvino", "onnx"), MODELS),
    "torch": (("onnx", "openvino", "torch"), MODELS),
    # Written by torch, in another process.
    "jax": (("onnx",), (converted, two_inputs, dicts, sparse_head, subclassed)),
}
# Models with layers for which LiteRT has no operations.
NOT_IN_LITERT = (recurrent, half_precision)
