"""Models for the tests of sparse files."""

import pathlib

import keras
import numpy as np

from keras_sac import SACConv2D, SACDense, bases, prune_to_sparsity

layers = keras.layers


@keras.saving.register_keras_serializable("sparse_file_tests")
class Words(layers.Layer):
    """A layer with a state of its own kinds: an asset, and a dataset without a variable."""

    def __init__(self, words=(), **options):
        super().__init__(**options)
        self.words = tuple(words)
        self.counts = np.zeros(2, "int64")
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale

    def save_assets(self, folder):
        pathlib.Path(folder, "words.txt").write_text("\n".join(self.words), "utf-8")

    def load_assets(self, folder):
        self.words = tuple(pathlib.Path(folder, "words.txt").read_text("utf-8").split("\n"))

    def save_own_variables(self, store):
        store["scale"] = self.scale
        store["counts"] = self.counts
        store["none"] = np.zeros((0, 3), "int8")

    def load_own_variables(self, store):
        self.scale.assign(store["scale"])
        self.counts = np.array(store["counts"])


def dense():
    return keras.Sequential(
        [keras.Input((20,)), layers.Dense(30, activation="relu"), layers.Dense(4)]
    )


def conv():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3),
        ]
    )


def sac():
    inputs = keras.Input((8, 8, 2))
    hidden = SACConv2D(5, 3, "random", rank=4, padding="same", activation="relu")(inputs)
    hidden = layers.Flatten()(hidden)
    basis = bases.random_orthogonal(hidden.shape[-1], 16, seed=3)
    return keras.Model(inputs, SACDense(4, basis)(hidden))


def nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(7), layers.UnitNormalization()])
    inner.compile("adam", "mse")
    inner.fit(np.ones((2, 5)), np.ones((2, 7)), verbose=0)
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([inner(inputs), inputs])))


def normalized():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)))
    words = Words(["plain", "naïve", "zwölf"])
    return keras.Sequential([keras.Input((4,)), normalization, words, layers.Dense(2)])


def half():
    return keras.Sequential(
        [keras.Input((40,)), layers.Dense(30, dtype="bfloat16"), layers.Dense(9, dtype="float16")]
    )


MODELS = [dense, conv, sac, nested, normalized, half]


def pruned(make, rng):
    """A model with weights that are not those of its initializers, most of them zero."""
    model = make()
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    prune_to_sparsity(model, 0.8)
    return model, rng.normal(size=(5, *model.input_shape[1:])).astype("float32")


def numbers(model):
    return [np.asarray(keras.ops.convert_to_numpy(v)) for v in model.weights]
