"""Reference implementations in float64 NumPy, by sorting."""

import numpy as np


def sparsemax(x, axis=-1):
    """Projection on the simplex as in Martins and Astudillo, algorithm 1."""
    x = np.moveaxis(np.asarray(x, "float64"), axis, -1)
    ordered = -np.sort(-x, axis=-1)
    sums = np.cumsum(np.where(np.isneginf(ordered), 0, ordered), axis=-1)
    ranks = np.arange(1, x.shape[-1] + 1)
    size = np.sum(1 + ranks * ordered > sums, axis=-1, keepdims=True)
    tau = (np.take_along_axis(sums, size - 1, axis=-1) - 1) / size
    return np.moveaxis(np.maximum(x - tau, 0), -1, axis)


def entmax15(x, axis=-1):
    """Entmax 1.5 as in Peters et al., algorithm 2."""
    x = np.moveaxis(np.asarray(x, "float64"), axis, -1) / 2
    x = x - x.max(axis=-1, keepdims=True)
    ordered = -np.sort(-x, axis=-1)
    finite = np.where(np.isneginf(ordered), 0, ordered)
    ranks = np.arange(1, x.shape[-1] + 1)
    mean = np.cumsum(finite, axis=-1) / ranks
    spread = np.cumsum(finite**2, axis=-1) - ranks * mean**2
    tau = mean - np.sqrt(np.maximum((1 - spread) / ranks, 0))
    size = np.sum(tau <= ordered, axis=-1, keepdims=True)
    tau = np.take_along_axis(tau, size - 1, axis=-1)
    return np.moveaxis(np.maximum(x - tau, 0) ** 2, -1, axis)


HEADS = {"sparsemax": sparsemax, "entmax15": entmax15}


def entropy_loss(name, x, y, axis=-1):
    """Fenchel-Young loss by its definition, `max_p <x, p> - Omega(p) + Omega(y) - <x, y>`."""
    p = HEADS[name](x, axis)

    def omega(q):
        if name == "sparsemax":
            return 0.5 * np.sum(q**2, axis=axis)
        return np.sum(q**1.5 - q, axis=axis) / 0.75

    return np.sum(x * (p - y), axis=axis) - omega(p) + omega(y)


def jacobian(function, x, step=1e-6):
    """Numerical Jacobian of a function of a vector, by central differences."""
    columns = []
    for i in range(len(x)):
        move = np.zeros(len(x))
        move[i] = step
        columns.append((function(x + move) - function(x - move)) / (2 * step))
    return np.stack(columns, axis=-1)
