"""A model with kernels, what is no kernel, and a model inside it, for the tests of choosing."""

import keras

from keras_sac._model import Selection, as_selections, select_kernels

L = keras.layers
ALL = ["conv/kernel", "first/kernel", "last/kernel"]


@keras.saving.register_keras_serializable(package="tests")
def wide(variable):
    return variable.shape[-1] > 5


def mixed():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = L.DepthwiseConv2D(3, name="dw")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.GlobalAveragePooling2D()(x)
    inner = keras.Sequential([keras.Input((4,)), L.Dense(8, name="first")], name="inner")
    return keras.Model(inputs, L.Dense(3, name="last")(inner(x)))


# What a user names, and what of `mixed()` it picks.
SELECTORS = [
    (lambda m: m.get_layer("inner"), ["first/kernel"]),
    (lambda m: m.get_layer("conv").bias, ["conv/bias"]),
    (lambda m: "first|last", ["first/kernel", "last/kernel"]),
    (lambda m: wide, ["first/kernel"]),
    (lambda m: [m.get_layer("last"), "conv", wide], ALL),
]


def ends(paths):
    """The last two parts of each path."""
    return ["/".join(path.split("/")[-2:]) for path in paths]


def twins(prefix=""):
    """Two nested models whose layers, and so the paths of their variables, are called alike."""

    def inner(name):
        layers = [keras.Input((4,)), L.Dense(4, name="first"), L.Dense(4, name="first_again")]
        return keras.Sequential(layers, name=name)

    inputs = keras.Input((4,))
    left, right = inner(f"{prefix}left"), inner(f"{prefix}right")
    return keras.Model(inputs, right(left(inputs)), name=f"{prefix}net")


def choose(variables, targets, layers=()):
    return select_kernels(variables, as_selections(targets, Selection), layers, purpose="pruned")
