"""Bayesian evidence for the dimension of probabilistic PCA."""

import numpy as np
from scipy.special import gammaln


def log_evidence(values: np.ndarray, n_samples: int) -> np.ndarray:
    """Return `log p(data | k)` by Laplace's method for `k = 1 ... d - 1`.

    With `v` the mean of the eigenvalues after the k-th, `m = d k - k (k + 1) / 2` and
    `λ̂ᵢ = λᵢ` for `i <= k`, else `v`:

    `p(D | k) ≈ p(U) (Π_{i<=k} λᵢ)^(-n/2) v^(-n (d - k) / 2) (2π)^((m + k) / 2) |A|^(-1/2) n^(-k/2)`

    `p(U) = 2^-k Π_{i<=k} Γ((d - i + 1) / 2) π^(-(d - i + 1) / 2)`

    `|A| = Π_{i<=k} Π_{j>i} (1 / λ̂ⱼ - 1 / λ̂ᵢ) (λᵢ - λⱼ) n`

    All `k` are computed together, in `O(d²)`. A dimension whose last eigenvalue is zero has the
    evidence `-inf`. A noise level of zero and the difference of equal eigenvalues are replaced by
    the rounding error of the largest eigenvalue.

    Args:
        values: all `d` eigenvalues, descending.
        n_samples: number of samples `n`.

    Returns:
        Array of shape `(max(d - 1, 1),)`; `[0]` for a single eigenvalue.

    Reference:
        Minka, 2000, "Automatic Choice of Dimensionality for PCA", equations 76 to 78.
    """
    d, n = len(values), n_samples
    if d == 1:
        return np.zeros(1)
    k = np.arange(1, d)
    resolution = np.finfo(np.float64).eps * values[0]
    safe = np.maximum(values, resolution)
    logs = np.log(safe)
    noise = np.maximum(np.cumsum(values[::-1])[::-1][1:] / (d - k), resolution)
    half = (d - k + 1) / 2
    log_prior = np.cumsum(gammaln(half) - half * np.log(np.pi)) - k * np.log(2.0)
    log_likelihood = -0.5 * n * (np.cumsum(logs)[:-1] + (d - k) * np.log(noise))
    m = d * k - k * (k + 1) / 2
    log_volume = 0.5 * (m + k) * np.log(2 * np.pi) - 0.5 * k * np.log(n)
    result = log_prior + log_likelihood + log_volume - 0.5 * _log_curvature(safe, noise, n)
    result[values[:-1] <= resolution] = -np.inf
    return result


def _log_curvature(values: np.ndarray, noise: np.ndarray, n: int) -> np.ndarray:
    d = len(values)
    k = np.arange(1, d)
    resolution = np.finfo(np.float64).eps * values[0]
    differences = np.log(np.maximum(values[:, None] - values[None, :], resolution))
    upper = np.triu(np.ones((d, d), bool), 1)
    # The sum of log(λᵢ - λⱼ) over i <= k < j and i < j <= k, that is over i <= k, j > i.
    by_row = np.cumsum(np.where(upper, differences, 0.0).sum(axis=1))[:-1]
    # Both eigenvalues in the signal: 1 / λⱼ - 1 / λᵢ = (λᵢ - λⱼ) / (λᵢ λⱼ).
    logs = np.log(values)
    pairs = np.where(upper, differences - logs[:, None] - logs[None, :], 0.0)
    inside = np.cumsum(pairs.sum(axis=0))[:-1]
    # One eigenvalue in the noise: 1 / v - 1 / λᵢ, the same for all d - k of these.
    excess = np.maximum(1 / noise[:, None] - 1 / values[None, :], np.finfo(np.float64).tiny)
    signal = np.tril(np.ones((d - 1, d), bool))
    across = (d - k) * np.where(signal, np.log(excess), 0.0).sum(axis=1)
    m = d * k - k * (k + 1) / 2
    return by_row + inside + across + m * np.log(n)
