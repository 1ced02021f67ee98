"""Choose which weights of a kernel to keep, from the moments of its inputs."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import linalg

from keras_sac.calibration import LinearFit

# ADMM: the steps, and those during which the sparsity grows.
_STEPS = 30
_GROWING = 20

# From scores `(groups, in_dim, units)` and a fraction of zeros to what is kept.
Keep = Callable[[np.ndarray, float], np.ndarray]


def scores(criterion: str, fit: LinearFit, kernel: np.ndarray) -> np.ndarray:
    """Return the score of each weight by a criterion; the largest are kept.

    - `"magnitude"`: `|w|`
    - `"wanda"`: `|w| sqrt(C_ii)`
    - `"obs"`: `w^2 / (C^-1)_ii`

    Args:
        criterion: one of these.
        fit: regularized.
        kernel: shape `(in_dim, units)`.
    """
    if criterion == "magnitude":
        return np.abs(kernel)
    if criterion == "wanda":
        return np.abs(kernel) * np.sqrt(fit.inputs.diagonal())[:, None]
    return np.square(kernel) / fit.inputs.inverse_diagonal()[:, None]


def admm_mask(
    fits: Sequence[LinearFit], kernels: np.ndarray, sparsity: float, keep: Keep
) -> np.ndarray:
    """Return what is kept by the alternating direction method of multipliers.

    Of `min tr(Wᵀ C W) / 2 - tr(Wᵀ S_xy)` over the kernels with the sparsity: least squares with a
    pull towards the nearest such kernel, `W <- (C + D)^-1 (S_xy + D (Z - U))`, and that kernel,
    `Z <- P(W + U)`, in turns, with the multipliers `U <- U + W - Z`. `D` is the diagonal of `C`, so
    nearness and magnitudes are those of the outputs. The sparsity grows to its value.

    Args:
        fits: regularized, one for each group.
        kernels: where to start, shape `(groups, in_dim, units)`.
        sparsity: fraction of zeros.
        keep: the sparsity pattern.

    Reference:
        Boza, 2024, "Fast and Effective Weight Update for Pruned Large Language Models".
    """
    scale = np.sqrt(np.stack([fit.inputs.diagonal() for fit in fits]))[..., None]
    # In coordinates where every input has variance 1.
    factors = [
        linalg.cho_factor(fit.inputs.matrix / each / each.T + np.eye(len(each)))
        for fit, each in zip(fits, scale, strict=True)
    ]
    target = np.stack([fit.cross for fit in fits]) / scale
    weights = kernels * scale
    multipliers = np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        now = sparsity * min(1.0, step / _GROWING) ** (1 / 3)
        wanted = weights + multipliers
        nearest = np.where(keep(np.abs(wanted), now), wanted, 0.0)
        multipliers = wanted - nearest
        pulled = target + nearest - multipliers
        weights = np.stack(
            [linalg.cho_solve(f, each) for f, each in zip(factors, pulled, strict=True)]
        )
    return keep(np.abs(weights + multipliers), sparsity)
