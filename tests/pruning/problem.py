"""A small model whose training NumPy can follow, for the tests of the optimizer."""

import keras
import numpy as np

BATCH = 8


def data(steps=40):
    """Samples of 20 features, and 4 targets."""
    rng = np.random.default_rng(0)
    shape = (BATCH * steps, 20)
    return rng.normal(size=shape).astype("float32"), rng.normal(size=(shape[0], 4))


def model(**kwargs):
    """A network with two kernels, the same in each test and on each backend."""
    rng = np.random.default_rng(1)
    built = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(16, activation="tanh", name="first", **kwargs),
            keras.layers.Dense(4, name="second", **kwargs),
        ]
    )
    built.set_weights([rng.normal(0.0, 0.3, w.shape) for w in built.get_weights()])
    return built


def fitted(optimizer, *, steps=40, built=None, epochs=1, callbacks=(), **compile_arguments):
    """Return the model after a `fit` whose batches come in order."""
    built = built or model()
    built.compile(optimizer, "mse", **compile_arguments)
    x, y = data(steps)
    built.fit(
        x,
        y,
        batch_size=BATCH,
        shuffle=False,
        epochs=epochs,
        verbose=0,
        callbacks=list(callbacks),
    )
    return built


def zeros(built):
    """Return the fraction of zeros in each kernel."""
    return [1 - np.count_nonzero(w) / w.size for w in built.get_weights() if w.ndim > 1]


def reference(steps, rate, sparsity_at, decay=0.0):
    """Train with SGD and prune by magnitude, in float64: each layer to `sparsity_at(step)`.

    `sparsity_at` returns `None` where masks stay. Step t is asked before batch t.
    """
    x, y = data(steps)
    weights = [np.asarray(w, "float64") for w in model().get_weights()]
    masks = [np.ones(w.shape, bool) for w in weights]

    def prune(step):
        sparsity = sparsity_at(step)
        for i in (0, 2):
            if sparsity is not None:
                size = np.abs(weights[i])
                k = max(int(np.round(size.size * (1 - sparsity))), 1)
                masks[i] = size >= np.sort(size.ravel())[-k]
            weights[i] = weights[i] * masks[i]

    prune(1)
    for step in range(1, steps + 1):
        batch = slice((step - 1) * BATCH, step * BATCH)
        hidden = np.tanh(x[batch] @ weights[0] + weights[1])
        error = 2 * (hidden @ weights[2] + weights[3] - y[batch]) / (BATCH * 4)
        back = (error @ weights[2].T) * (1 - hidden**2)
        gradients = [x[batch].T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        weights = [
            w * (1 - decay * rate) - rate * g for w, g in zip(weights, gradients, strict=True)
        ]
        prune(step + 1)
    return weights, [masks[0], masks[2]]
