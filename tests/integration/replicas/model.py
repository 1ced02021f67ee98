"""The model, the data and the optimizer that the replicas of every backend train."""

import keras
import numpy as np

from keras_sac import PolynomialDecay, ProximalL1, PruningOptimizer

PROXIMAL = {"weights": {"strength": 0.05}, "filters": {"strength": 0.1, "group": "filters"}}
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
    """SGD, whose result does not hang on the last digit of a gradient, and what is around it.

    `criterion` is one of pruning, or `"filters"` or `"weights"`: what `ProximalL1` thresholds.
    `"early"` prunes by magnitude, before the first batch too.
    """
    if criterion in PROXIMAL:
        return ProximalL1(keras.optimizers.SGD(0.05), **PROXIMAL[criterion])
    schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=38, frequency=5)
    if criterion == "early":
        schedule = PolynomialDecay(0.5, 0.8, begin_step=1, end_step=38, frequency=5)
        criterion = "magnitude"
    return PruningOptimizer(keras.optimizers.SGD(0.05), schedule, criterion=criterion)


def loss():
    """Cross-entropy of logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def alone(criterion="magnitude"):
    """Masks and weights after a `fit` on one device, by the names that a result has."""
    trained = fitted(model(), optimizer(criterion))
    return named("alone", masks_of(trained.optimizer), trained.get_weights())


def masks_of(optimizer):
    """The masks of an optimizer that prunes."""
    return optimizer.masks.values() if isinstance(optimizer, PruningOptimizer) else []


def fitted(built, optimizer):
    """The model, trained."""
    built.compile(optimizer, loss())
    x, y = data()
    built.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    return built


def named(holder, masks, weights):
    """What a replica, or one device alone, holds, by the names that a result has."""
    found = {f"{holder}_mask_{i}": np.asarray(mask) for i, mask in enumerate(masks)}
    return found | {f"{holder}_weight_{i}": np.asarray(w) for i, w in enumerate(weights)}


def per_replica(trained, values_of):
    """What each of two replicas holds; `values_of(variable)` are the values on each of them."""
    masks = [v for v in trained.optimizer.variables if v.name.endswith("_mask")]
    found = {}
    for replica in range(2):
        own = [
            [np.asarray(values_of(v)[replica]) for v in variables]
            for variables in (masks, trained.trainable_variables)
        ]
        found |= named(f"replica{replica}", *own)
    return found
