"""SGD and proximal steps in NumPy, in float64, on the problem of the tests of pruning."""

import keras
import numpy as np

from keras_sac._optimizer import nested
from tests.pruning.problem import BATCH, data, model


def soft(v, t):
    """`sign(v) max(|v| - t, 0)`."""
    return np.sign(v) * np.maximum(np.abs(v) - t, 0.0)


def group_soft(v, t, axis=-1):
    """`v_j max(1 - t sqrt(n_j) / ||v_j||, 0)`, slice by slice."""
    slices = []
    for v_j in np.moveaxis(v, axis, 0):
        norm = np.sqrt(np.sum(v_j**2))
        share = t * np.sqrt(v_j.size) / norm if norm else np.inf
        slices.append(v_j * max(1.0 - share, 0.0))
    return np.moveaxis(np.array(slices), 0, axis)


def trained(steps, rate, prox, kernels=(0, 2), every=1, decay=0.0, momentum=0.0, start=None):
    """The weights after SGD with a proximal step after each update.

    `rate(batch)` is the learning rate in a batch, the first being 0; `prox(v, lr)` the step for
    the weights with the numbers `kernels`. An update is made every so many batches, of the mean
    of their gradients. `start` are the first weights.
    """
    x, y = data(steps)
    weights = [np.asarray(w, "float64") for w in start or model().get_weights()]
    collected = [np.zeros(w.shape) for w in weights]
    velocities = [np.zeros(w.shape) for w in weights]
    for batch in range(steps):
        part = slice(batch * BATCH, (batch + 1) * BATCH)
        hidden = np.tanh(x[part] @ weights[0] + weights[1])
        error = 2 * (hidden @ weights[2] + weights[3] - y[part]) / (BATCH * 4)
        back = (error @ weights[2].T) * (1 - hidden**2)
        gradients = [x[part].T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        collected = [c + g / every for c, g in zip(collected, gradients, strict=True)]
        if (batch + 1) % every:
            continue
        lr = rate(batch)
        velocities = [momentum * v - lr * g for v, g in zip(velocities, collected, strict=True)]
        weights = [w * (1 - decay * lr) + v for w, v in zip(weights, velocities, strict=True)]
        for i in kernels:
            weights[i] = prox(weights[i], lr)
        collected = [np.zeros(w.shape) for w in weights]
    return weights


def assert_same(built, weights, atol=1e-5):
    """The weights of a model are those, and zero where they are."""
    for mine, theirs in zip(built.get_weights(), weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=atol)
        # Of weights that the last digit decides about there may be a few.
        assert np.mean((mine == 0) != (theirs == 0)) < 0.02


def apply(optimizer, variables, gradients):
    """One update outside `fit`; on JAX both ways, which must agree."""
    gradients = [
        keras.ops.cast(keras.ops.convert_to_tensor(g), v.dtype)
        for g, v in zip(gradients, variables, strict=True)
    ]
    if keras.backend.backend() != "jax":
        optimizer.apply(gradients, variables)
        return
    values = [v.value for v in variables]
    state = [v.value for v in optimizer.variables]
    values, state = optimizer.stateless_apply(state, gradients, values)
    both = [*zip(variables, values, strict=True), *zip(optimizer.variables, state, strict=True)]
    if any(isinstance(o, keras.optimizers.LossScaleOptimizer) for o in nested(optimizer)):
        # Keras' own cannot be applied but so on JAX: its branches have side effects.
        for variable, value in both:
            variable.assign(value)
        return
    optimizer.apply(gradients, variables)
    for variable, value in both:
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(value)
        )
