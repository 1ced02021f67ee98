"""Least squares of a kernel on the weights that a mask keeps, unit by unit."""

import numpy as np
from scipy import linalg

from keras_sac.calibration import LinearFit

# How much cheaper a multiplication is in the products of conjugate gradients than in a
# factorization. Measured with one thread, 16 units, seconds of factorization / of 20 to 64 steps:
# 512 inputs, 30 / 60 / 90 % zeros: 0.027 / 0.030, 0.008 / 0.024, 0.002 / 0.010;
# 1024: 0.133 / 0.112, 0.028 / 0.070, 0.003 / 0.030; 2048: 0.783 / 0.430, 0.172 / 0.328,
# 0.011 / 0.144. They are equal at an advantage of 0.5 to 0.8; more threads help products more.
_PRODUCT_ADVANTAGE = 1.0
_STEPS = 200
_TOLERANCE = 1e-8


def refit_on_support(fit: LinearFit, keep: np.ndarray) -> np.ndarray:
    """Return the kernel of least squares whose other weights are zero.

    `w_S = (C_SS)^-1 (S_xy)_S` for the support `S` of each unit.

    Args:
        fit: regularized.
        keep: shape `(in_dim, units)`, true for the weights that are kept.

    Returns:
        Shape `(in_dim, units)`, float64.
    """
    sizes = keep.sum(axis=0)
    direct = float(
        np.sum(sizes.astype(np.float64) ** 3) / 3 + np.sum(sizes.astype(np.float64) ** 2)
    )
    # About 50 steps, each a product with all inputs.
    iterative = 50.0 * keep.shape[0] ** 2 * keep.shape[1] / _PRODUCT_ADVANTAGE
    if fit.inputs.is_sketched or direct > iterative:
        return _by_conjugate_gradients(fit, keep)
    return _by_factorization(fit, keep)


def _by_factorization(fit: LinearFit, keep: np.ndarray) -> np.ndarray:
    matrix, kernel = fit.inputs.matrix, np.zeros(keep.shape)
    for unit in range(keep.shape[1]):
        support = np.flatnonzero(keep[:, unit])
        if len(support) == len(matrix):
            inner = matrix
        else:
            inner = matrix[np.ix_(support, support)]
        if len(support):
            factor = linalg.cho_factor(inner, lower=True)
            kernel[support, unit] = linalg.cho_solve(factor, fit.cross[support, unit])
    return kernel


def _by_conjugate_gradients(fit: LinearFit, keep: np.ndarray) -> np.ndarray:
    """Solve all units at once; each has its own step lengths."""
    scale = 1.0 / fit.inputs.diagonal()[:, None]  # Jacobi
    kernel = np.zeros(keep.shape)
    rest = np.where(keep, fit.cross, 0.0)
    goal = _TOLERANCE * np.sqrt(np.square(rest).sum(axis=0))
    step = scale * rest
    energy = np.sum(rest * step, axis=0)
    for _ in range(_STEPS):
        if np.all(np.sqrt(np.square(rest).sum(axis=0)) <= goal):
            break
        product = np.where(keep, fit.inputs.times(step), 0.0)
        curvature = np.sum(step * product, axis=0)
        length = np.divide(energy, curvature, out=np.zeros_like(energy), where=curvature > 0)
        kernel += length * step
        rest -= length * product
        scaled = scale * rest
        before, energy = energy, np.sum(rest * scaled, axis=0)
        ratio = np.divide(energy, before, out=np.zeros_like(energy), where=before > 0)
        step = scaled + ratio * step
    return kernel
