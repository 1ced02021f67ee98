"""`choose_rank`: choose the number of principal components to keep."""

from typing import Any

import numpy as np

from keras_sac._arguments import one_of
from keras_sac._model import to_numpy
from keras_sac.bases._basis import Basis
from keras_sac.bases._marchenko_pastur import hard_threshold
from keras_sac.bases._minka import log_evidence
from keras_sac.bases._moments import Moments

_METHODS = ("gavish-donoho", "mle")


def choose_rank(
    spectrum: Any,
    *,
    explained_variance: float | None = None,
    method: str | None = None,
    n_samples: int | None = None,
    in_dim: int | None = None,
) -> int:
    """Choose the number of principal components to keep, by exactly one criterion.

    - `explained_variance=q`: the smallest `k` with `Σ_{i<=k} λᵢ >= q Σ λᵢ`.
    - `method="gavish-donoho"`: the components with a singular value `√((n - 1) λᵢ)` above the
      hard threshold that is optimal (in mean squared error) for white noise of unknown level:
      `ω(β) · median`, where `β` is the ratio of the sides of the data matrix.
    - `method="mle"`: the dimension with the largest Bayesian evidence under probabilistic PCA, by
      Laplace's method. Needs `n_samples >= in_dim`.

    Args:
        spectrum: all eigenvalues of the covariance, `(min(in_dim, n - 1),)` or more, descending;
            or `Moments`; or a PCA `Basis` (of full rank for the two methods).
        explained_variance: fraction of the total variance, `0 < q <= 1`.
        method: `"gavish-donoho"` or `"mle"`.
        n_samples: number of samples behind an array of eigenvalues, for the two methods.
        in_dim: number of features. Defaults to the length of `spectrum`.

    Returns:
        The rank, between 1 and `len(spectrum)`.

    Raises:
        ValueError: if not exactly one criterion is given, a value is out of range, the spectrum is
            empty, negative, not descending or all zero, or eigenvalues are missing.

    Examples:
        >>> choose_rank([4.0, 3.0, 2.0, 1.0], explained_variance=0.7)
        2

    Reference:
        Gavish & Donoho, 2014, "The Optimal Hard Threshold for Singular Values is 4/√3";
        Minka, 2000, "Automatic Choice of Dimensionality for PCA".
    """
    if (explained_variance is None) == (method is None):
        raise ValueError(
            "Pass exactly one of `explained_variance` and `method`. Received: "
            f"explained_variance={explained_variance!r}, method={method!r}"
        )
    if method is not None:
        one_of("method", method, _METHODS)
    total: float | None = None
    if isinstance(spectrum, Basis):
        if spectrum.kind not in ("pca", "pca_whitened") or spectrum.spectrum is None:
            raise ValueError(
                "`spectrum` must hold variances. Received: a basis of kind "
                f"{spectrum.kind!r}. Pass a basis from `bases.pca`, `Moments`, or an array of "
                "eigenvalues."
            )
        total = spectrum.total_variance
        n_samples = spectrum.n_samples if n_samples is None else n_samples
        in_dim = spectrum.in_dim
        values = spectrum.spectrum
    elif isinstance(spectrum, Moments):
        n_samples = spectrum.count if n_samples is None else n_samples
        values = np.maximum(np.linalg.eigvalsh(spectrum.covariance)[::-1], 0.0)
    else:
        values = to_numpy(spectrum)
    values = _checked(values)
    if explained_variance is not None:
        return _by_variance(values, explained_variance, total)
    in_dim = len(values) if in_dim is None else in_dim
    return _by_method(values, str(method), n_samples, in_dim)


def _checked(values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "iuf":
        raise ValueError(
            "`spectrum` must be a non-empty 1-D array of eigenvalues. Received: an array of shape "
            f"{values.shape}, {values.dtype}"
        )
    values = values.astype(np.float64)
    if not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(np.diff(values) > 0):
        raise ValueError(
            "`spectrum` must be finite, not negative, and descending. Sort it with "
            "`np.sort(values)[::-1]`; clip negative rounding errors with `np.maximum(values, 0)`."
        )
    if values[0] == 0:
        raise ValueError("`spectrum` must have a positive entry. Received: zeros, of constant data")
    return values


def _by_variance(values: np.ndarray, fraction: float, total: float | None) -> int:
    if isinstance(fraction, bool | str) or not 0 < fraction <= 1:
        raise ValueError(
            "`explained_variance` must be above 0 and at most 1. Received: explained_variance="
            f"{fraction!r}"
        )
    kept = np.cumsum(values)
    total = float(kept[-1]) if total is None else total
    # Rounding of the sum must not add one more component.
    enough = kept >= fraction * total * (1 - 1e-9)
    if not enough[-1]:
        raise ValueError(
            f"`explained_variance` must be at most {kept[-1] / total:.4f}, the fraction that the "
            f"{len(values)} components of the basis keep. Received: explained_variance={fraction}. "
            "Compute a basis of higher rank, or pass `Moments`."
        )
    return int(np.argmax(enough)) + 1


def _by_method(values: np.ndarray, method: str, n_samples: int | None, in_dim: int) -> int:
    if n_samples is None or n_samples < 2:
        raise ValueError(
            f"`n_samples` must be an integer >= 2 for method={method!r}. Received: n_samples="
            f"{n_samples}"
        )
    directions = min(in_dim, n_samples - 1)
    if len(values) < directions:
        raise ValueError(
            f"`spectrum` must hold all {directions} eigenvalues of {n_samples} samples of {in_dim} "
            f"features for method={method!r}. Received: {len(values)}. Compute the basis with "
            "rank=None, or pass `Moments`."
        )
    if method == "mle":
        if n_samples < in_dim:
            raise ValueError(
                f"method='mle' needs at least as many samples as features. Received: {n_samples} "
                f"samples of {in_dim} features. Use method='gavish-donoho' or explained_variance."
            )
        return int(np.argmax(log_evidence(values[:in_dim], n_samples))) + 1
    singular = np.sqrt(values[:directions] * (n_samples - 1))
    # Centering takes one degree of freedom from the samples.
    sides = sorted((in_dim, n_samples - 1))
    threshold = hard_threshold(sides[0] / sides[1]) * np.median(singular)
    return max(1, int(np.count_nonzero(singular > threshold)))
