"""Alternating least squares for a basis that several blocks of the inputs share."""

import numpy as np
from scipy import linalg

from keras_sac.calibration import LinearFit

# Steps of conjugate gradients for each basis: later ones hardly change it, because the learner is
# fitted anew.
_STEPS = 10
# Relative size of the residual, and of a ridge, below which there is only rounding.
_ROUNDING = 1e-12


def improved_basis(
    basis: np.ndarray,
    learner: np.ndarray,
    fit: LinearFit,
    order: np.ndarray,
    metric: np.ndarray | None,
) -> np.ndarray:
    """Return a basis with a smaller error than the given one, for the same learner.

    The kernel of block `b` is `V L_b`. The error is quadratic in `V`, and conjugate gradients lower
    it, preconditioned by `C̄ ⊗ Σ L_b G L_bᵀ`, with `C̄` the mean covariance of the blocks.

    Args:
        basis: `V`, shape `(rows, rank)`.
        learner: `L`, shape `(rank, blocks, units)`.
        fit: regularized.
        order: the inputs of the kernel in the order of blocks, then rows.
        metric: weights `G` of the errors, `(units, units)`; `None` for the identity.

    Returns:
        Orthonormal columns, shape `(rows, rank)`.
    """
    rows = len(basis)
    weighted = learner if metric is None else learner @ metric

    def product(direction: np.ndarray) -> np.ndarray:
        kernel = np.empty_like(fit.cross)
        blocks = np.tensordot(direction, learner, axes=1)  # (rows, blocks, units)
        kernel[order] = np.moveaxis(blocks, 1, 0).reshape(kernel.shape)
        return fit.inputs.times(kernel)

    def gradient(error: np.ndarray) -> np.ndarray:
        blocks = error[order].reshape(-1, rows, error.shape[1])
        return np.tensordot(blocks, weighted, axes=([0, 2], [1, 2]))

    inputs = _factored(fit.inputs.mean_block(order, rows))
    outputs = _factored(np.tensordot(learner, weighted, axes=([1, 2], [1, 2])))

    def preconditioned(residual: np.ndarray) -> np.ndarray:
        return linalg.cho_solve(outputs, linalg.cho_solve(inputs, residual).T).T

    residual = gradient(fit.cross - product(basis))
    direction = preconditioned(residual)
    size = first = float(np.sum(residual * direction))
    for _ in range(_STEPS):
        if size <= _ROUNDING * first:
            break
        change = gradient(product(direction))
        step = size / float(np.sum(direction * change))
        basis, residual = basis + step * direction, residual - step * change
        following = preconditioned(residual)
        size, before = float(np.sum(residual * following)), size
        direction = following + size / before * direction
    return np.linalg.qr(basis)[0]


def _factored(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the Cholesky factor of a symmetric matrix that may be singular."""
    ridge = _ROUNDING * float(np.trace(matrix)) or 1.0
    return linalg.cho_factor((matrix + matrix.T) / 2 + ridge * np.eye(len(matrix)))
