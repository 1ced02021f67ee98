"""The model, the data and the optimizer that the replicas of every backend train."""

import keras
import numpy as np

from keras_sac.pruning import PolynomialDecay, PruningOptimizer

BATCH = 8
STEPS = 40


def data():
    """320 samples of 20 features and 4 classes."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH * STEPS, 20)).astype("float32"), rng.integers(0, 4, BATCH * STEPS)


def model():
    """A small classifier whose weights are the same in each process."""
    rng = np.random.default_rng(1)
    built = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(4),
        ]
    )
    built.set_weights([rng.normal(0.0, 0.2, w.shape) for w in built.get_weights()])
    return built


def optimizer(criterion="magnitude"):
    """SGD, whose result does not hang on the last digit of a gradient, and a schedule."""
    schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=38, frequency=5)
    return PruningOptimizer(keras.optimizers.SGD(0.05), schedule, criterion=criterion)


def loss():
    """Cross-entropy of logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def trained_alone(criterion="magnitude"):
    """Masks and weights after a `fit` on one device."""
    alone = model()
    alone.compile(optimizer(criterion), loss())
    x, y = data()
    alone.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    return list(alone.optimizer.masks.values()), alone.get_weights()
