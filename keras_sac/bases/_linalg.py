"""Linear algebra of the bases: leading eigenvectors, completion to a basis, stable signs."""

import numpy as np
import scipy.linalg

_BLOCK = 256
# Smallest width at which single precision with a correction in double precision is faster.
_MIXED_FROM = 512
# Largest accepted bound on the sine of the angle to the exact subspace: a cosine of at least
# 0.99995. The true angle is usually far smaller than the bound.
_MAX_SINE = 1e-2


def leading_eigenpairs(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `rank` largest eigenvalues of a symmetric matrix, and their eigenvectors.

    Large problems are solved in single precision. A Rayleigh-Ritz step in double precision on the
    resulting subspace then gives the eigenvalues and vectors. By Davis and Kahan, the sine of the
    angle to the exact subspace is at most `(Σᵢ (|rᵢ| / (θᵢ - λ))²)^½`, with the residuals `rᵢ` of
    the Ritz pairs and the next eigenvalue `λ`. If this bound is not small, the problem is solved
    again in double precision.

    Args:
        matrix: shape `(n, n)`, float64, symmetric.
        rank: number of eigenvalues, `1 <= rank <= n`.

    Returns:
        Eigenvalues, shape `(rank,)`, descending, and orthonormal vectors, shape `(n, rank)`, with
        the signs of `fix_signs`.

    Reference:
        Parlett, 1998, "The Symmetric Eigenvalue Problem", chapter 11.
    """
    pairs = None
    # For a large part of the spectrum the correction costs as much as single precision saves.
    if len(matrix) >= _MIXED_FROM and 4 * rank <= len(matrix):
        pairs = _mixed_eigenpairs(matrix, rank)
    if pairs is None:
        pairs = _eigenpairs(np.array(matrix, order="C"), rank)
    values, vectors = pairs
    # If many eigenvalues are equal, LAPACK's bisection loses some of them without an error. The
    # solver of the whole spectrum does not.
    if len(values) < rank:
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[: -rank - 1 : -1], vectors[:, : -rank - 1 : -1]
    return values, fix_signs(vectors)


def _eigenpairs(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `rank` leading pairs, fewer if bisection fails. `matrix` is overwritten."""
    n = len(matrix)
    # The transpose is the same matrix in LAPACK's order, which is overwritten, not copied. For a
    # few of many vectors, "evx" was the fastest driver.
    values, vectors = scipy.linalg.eigh(
        matrix.T,
        subset_by_index=(n - rank, n - 1),
        driver="evx",
        overwrite_a=True,
        check_finite=False,
    )
    return values[::-1], vectors[:, ::-1]


def _mixed_eigenpairs(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray] | None:
    scale = float(np.abs(np.diagonal(matrix)).max())
    if scale == 0:
        return None
    single = np.empty(matrix.shape, np.float32)
    np.multiply(matrix, 1 / scale, out=single, casting="same_kind")
    rough, start = _eigenpairs(single, rank + 1)
    if len(rough) <= rank:
        return None
    basis = np.linalg.qr(start[:, :rank].astype(np.float64))[0]
    image = matrix @ basis
    values, rotation = np.linalg.eigh(basis.T @ image)
    values, rotation = values[::-1], rotation[:, ::-1]
    vectors = basis @ rotation
    residuals = np.linalg.norm(image @ rotation - vectors * values, axis=0)
    gaps = values - float(rough[rank]) * scale
    if np.any(gaps <= 0) or np.linalg.norm(residuals / gaps) > _MAX_SINE:
        return None
    return values, vectors


def from_lower(lower: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix whose lower triangle is that of `lower`, as a new array.

    Works in blocks of rows, so that the strided half of the transpose stays in the cache.
    """
    full = np.empty_like(lower)
    for start in range(0, len(lower), _BLOCK):
        rows = slice(start, start + _BLOCK)
        full[rows, :start] = lower[rows, :start]
        full[:start, rows] = lower[rows, :start].T
        corner = np.tril(lower[rows, rows])
        full[rows, rows] = corner + np.tril(corner, -1).T
    return full


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Return the columns with signs that make the largest entry in magnitude positive.

    The first entry within a thousandth of the largest one decides. So vectors whose two largest
    entries differ by rounding only have the same sign on every machine.
    """
    magnitude = np.abs(vectors)
    first = np.argmax(magnitude >= 0.999 * magnitude.max(axis=0), axis=0)
    signs = np.where(vectors[first, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return vectors * signs.astype(vectors.dtype)


def complete(vectors: np.ndarray, rank: int) -> np.ndarray:
    """Return orthonormal `vectors` and further orthonormal columns, `rank` columns in all.

    The further columns are arbitrary, but the same in every run.
    """
    n, have = vectors.shape
    if have >= rank:
        return vectors
    extra = np.random.default_rng(0).standard_normal((n, rank - have))
    # Twice is enough (Kahan): the second projection removes the rounding errors of the first.
    for _ in range(2):
        extra -= vectors @ (vectors.T @ extra)
        extra = np.linalg.qr(extra)[0]
    return np.concatenate([vectors, fix_signs(extra)], axis=1)
