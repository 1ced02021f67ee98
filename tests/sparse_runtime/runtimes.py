"""Models and a fake clock for the tests of `to_sparse_runtime`."""

import keras
import numpy as np
from keras import layers

from keras_sac import SACDense


class Times:
    """Fake clock: runs each call once and returns the given speedups."""

    def __init__(self, *speedups):
        self.speedups = list(speedups)
        self.asked = 0

    def __call__(self, calls, *, repeats, seconds, in_a_row=1):
        for call in calls.values():
            call()
        # The last speedup is repeated.
        speedup = self.speedups[min(self.asked, len(self.speedups) - 1)]
        self.asked += 1
        return {"dense": 3.0 * speedup, "sparse": 3.0}


def pruned(model, rng, sparsity=0.8):
    for weight in model.weights:
        values = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            values *= rng.random(weight.shape) >= sparsity
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    return model


def mlp(rng, **kwargs):
    stack = [keras.Input((20,)), layers.Dense(16, activation="relu", name="first")]
    return pruned(keras.Sequential([*stack, layers.Dense(12, name="second")]), rng, **kwargs)


def nested(rng):
    shared = layers.Dense(6, activation="tanh", name="shared")
    inner = keras.Sequential(
        [keras.Input((4, 4, 6)), layers.Conv2D(6, 1, name="pointwise"), shared], name="inner"
    )
    a, b = keras.Input((4, 4, 6), name="a"), keras.Input((6,), name="b")
    hidden = layers.BatchNormalization(name="norm")(inner(inner(a)))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="filters")(hidden))
    thin = SACDense(6, "random", rank=2, name="thin")(shared(layers.Add()([pooled, b])))
    heads = [layers.Dense(3, name="one")(thin), layers.Dense(1, name="two")(thin)]
    return pruned(keras.Model({"a": a, "b": b}, heads), rng)


def outputs_of(model, x):
    return [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]


def check_same_outputs(runtime, model, x):
    for one, other in zip(outputs_of(runtime, x), outputs_of(model, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def row(report, name):
    return report.set_index("layer").loc[name]
