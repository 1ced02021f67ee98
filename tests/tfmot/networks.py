"""Small networks, and a training of `STEPS` batches."""

import keras
import numpy as np

from keras_sac.tfmot.sparsity.keras import PolynomialDecay, UpdatePruningStep

STEPS = 16


def schedule(final=0.75, **kwargs):
    """Reaches its final sparsity two steps before the end of an epoch of `fit`."""
    return PolynomialDecay(0.25, final, begin_step=1, end_step=14, frequency=4, **kwargs)


def fit(model, epochs=1, callbacks=None, inputs=8, outputs=4):
    """Train for `STEPS` batches an epoch, by default with `UpdatePruningStep`."""
    callbacks = [UpdatePruningStep()] if callbacks is None else callbacks
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4 * STEPS, inputs)).astype("float32")
    y = rng.normal(size=(4 * STEPS, outputs)).astype("float32")
    settings = {"batch_size": 4, "epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(x, y, callbacks=list(callbacks), **settings)


def compiled(model, optimizer="sgd"):
    model.compile(optimizer, "mse")
    return model


def begun(model):
    """Return a compiled model as it is after `fit` has begun, before its first batch."""
    callback = UpdatePruningStep()
    # Only `fit` sets the parameters.
    callback.set_params({})
    callback.set_model(model)
    callback.on_train_begin()
    return model


def dense(units, **kwargs):
    return keras.layers.Dense(units, **kwargs)


def sequential(*units, inputs=8):
    """A chain of `Dense` layers, the first with `units[0]`."""
    return keras.Sequential([keras.Input((inputs,)), *(dense(each) for each in units)])


def zeros(layer):
    """Number of zeros in the first weight of a layer."""
    return int(np.count_nonzero(layer.get_weights()[0] == 0))


class Subclassed(keras.Model):
    """Makes its variables when it is first called, and one layer only then."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = dense(6, activation="relu")

    def build(self, input_shape):
        self.last = dense(4)
        self.first.build(input_shape)
        self.last.build((None, 6))

    def call(self, inputs):
        return self.last(self.first(inputs))
