"""Compute Fisher's discriminant directions from class means and the covariance."""

import numpy as np
import scipy.linalg

from keras_sac.bases._linalg import fix_signs
from keras_sac.bases._moments import Moments

# Fraction of the mean variance that is added to a singular within-class scatter.
_RIDGE = 1e-6
# A feature is dependent if less than this fraction is not explained by the features before it.
_PIVOT = 16 * float(np.finfo(np.float32).eps)
# Differences of class means below this fraction of the largest difference are rounding.
_FLAT = 1e-5


def fisher_directions(
    moments: Moments, covariance: np.ndarray, shrinkage: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return all discriminant directions, orthonormalized in order, and their Fisher ratios.

    `S_b v = λ S_w v` is solved in the span of the class means. With
    `M = [√(n_c / n) (m_c - m)]`, so `S_b = M Mᵀ`, and `S_w = L Lᵀ`, the singular value
    decomposition `L⁻¹ M = P Σ Wᵀ` gives `v = L⁻ᵀ P` and `λ = Σ²`. This takes one Cholesky
    factor and a matrix with one column per class, not a generalized eigenproblem of full width.

    Args:
        moments: moments with at least two classes.
        covariance: `moments.covariance`, computed once by the caller.
        shrinkage: `S_w` becomes `(1 - s) S_w + s trace(S_w) / in_dim I`; with `None`, a ridge is
            added only if `S_w` is singular.

    Returns:
        Shape `(in_dim, r)` and `(r,)`, `1 <= r <= n_classes - 1`.

    Raises:
        ValueError: if there are no labels, there is only one class, or the class means coincide.
    """
    shrinkage = _checked_shrinkage(shrinkage)
    classes, counts, means = moments.classes, moments.class_counts, moments.class_means
    if classes is None or counts is None or means is None:
        raise ValueError(
            "LDA needs labels. Received: data without labels. Pass `labels`, data that yield "
            "`(x, y)`, or the moments of such data."
        )
    if len(classes) < 2:
        raise ValueError(
            f"LDA needs at least two classes. Received: {moments.count} labels, all "
            f"{classes[0].item()!r}"
        )
    n, in_dim = moments.count, moments.in_dim
    spread = ((means - moments.mean) * np.sqrt(counts / n)[:, None]).T
    within = covariance * ((n - 1) / n) - spread @ spread.T
    total = np.trace(covariance)
    if np.square(spread).sum() <= _FLAT**2 * total:
        raise ValueError(
            f"LDA needs classes with different means. Received: {len(classes)} classes whose means "
            "coincide. Check that the labels belong to these samples, or use `bases.pca`."
        )
    if shrinkage:
        mean_within = np.trace(within) / in_dim
        within *= 1 - shrinkage
        within[np.diag_indices(in_dim)] += shrinkage * mean_within
    factor = _cholesky(within, _RIDGE * total / in_dim)
    whitened = scipy.linalg.solve_triangular(factor, spread, lower=True, check_finite=False)
    left, singular, _ = np.linalg.svd(whitened, full_matrices=False)
    # One singular value is zero by construction, because the weighted means sum to zero.
    singular = singular[: min(len(classes) - 1, in_dim)]
    usable = int(np.count_nonzero(singular > _FLAT * singular[0]))
    directions = scipy.linalg.solve_triangular(
        factor.T, left[:, :usable], lower=False, check_finite=False
    )
    directions /= np.linalg.norm(directions, axis=0)
    return fix_signs(np.linalg.qr(directions)[0]), np.square(singular[:usable])


def _cholesky(within: np.ndarray, ridge: float) -> np.ndarray:
    scale = np.diagonal(within).copy()
    try:
        factor = np.linalg.cholesky(within)
    except np.linalg.LinAlgError:
        factor = None
    if factor is not None and np.all(np.square(np.diagonal(factor)) > _PIVOT * scale):
        return factor
    # If one variance is far above the others, rounding in single precision can leave eigenvalues
    # further below zero than the ridge. The ridge then grows.
    diagonal = np.diag_indices(len(within))
    while True:
        shifted = within.copy()
        shifted[diagonal] += ridge
        try:
            return np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            ridge *= 10


def _checked_shrinkage(shrinkage: float | None) -> float | None:
    if shrinkage is None:
        return None
    if isinstance(shrinkage, str | bool) or not 0 <= shrinkage <= 1:
        raise ValueError(
            "`shrinkage` must be None or a number between 0 and 1. Received: shrinkage="
            f"{shrinkage!r}. For an automatic choice pass the result of "
            "`sklearn.covariance.ledoit_wolf_shrinkage`."
        )
    return float(shrinkage)
