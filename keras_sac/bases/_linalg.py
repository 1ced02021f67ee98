"""Leading eigenvectors, orthonormal completion, and signs that do not depend on the machine."""

import numpy as np
import scipy.linalg

_BLOCK = 256
# From this width on, single precision with a correction in double precision pays.
_MIXED_FROM = 512
# Largest bound on the sine of the angle to the exact subspace before it is recomputed: a cosine of
# at least 0.99995. The bound is a generous one.
_MAX_SINE = 1e-2


def leading_eigenpairs(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `rank` largest eigenvalues of a symmetric matrix, and their eigenvectors.

    Large problems are solved in single precision; a Rayleigh-Ritz step in double precision on the
    subspace found then gives eigenvalues and vectors inside it. By Davis and Kahan the sine of the
    angle to the exact subspace is at most `(Σᵢ (|rᵢ| / (θᵢ - λ))²)^½` with the residuals `rᵢ` of
    the Ritz pairs and `λ` the next eigenvalue; where that is not small, the whole is solved again
    in double precision.

    Args:
        matrix: shape `(n, n)`, float64, symmetric.
        rank: how many, `1 <= rank <= n`.

    Returns:
        Eigenvalues, shape `(rank,)`, descending, and orthonormal vectors, shape `(n, rank)`, with
        the signs of `fix_signs`.

    Reference:
        Parlett, 1998, "The Symmetric Eigenvalue Problem", chapter 11.
    """
    pairs = None
    # A large part of the spectrum costs as much in the correction as it saves.
    if len(matrix) >= _MIXED_FROM and 4 * rank <= len(matrix):
        pairs = _mixed_eigenpairs(matrix, rank)
    if pairs is None:
        pairs = _eigenpairs(np.array(matrix, order="C"), rank)
    values, vectors = pairs
    # Where many eigenvalues are equal, LAPACK's bisection loses some of them, in silence; the
    # solvers of the whole spectrum do not.
    if len(values) < rank:
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = values[: -rank - 1 : -1], vectors[:, : -rank - 1 : -1]
    return values, fix_signs(vectors)


def _eigenpairs(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `rank` leading pairs: fewer where bisection fails. `matrix` is overwritten."""
    n = len(matrix)
    # The transpose is the same matrix in the order of LAPACK: it is overwritten, not copied.
    # For a few of many vectors "evx" was the fastest of the drivers.
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


def symmetric_sum(lower: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return `lower + left rightᵀ`, of which only the lower triangle is read, as a full matrix.

    In blocks of rows, without a temporary matrix, so that the strided half of the transpose stays
    in the cache.
    """
    full = np.empty_like(lower)
    for start in range(0, len(lower), _BLOCK):
        stop = min(start + _BLOCK, len(lower))
        rows = slice(start, stop)
        block = np.outer(left[rows], right[:stop])
        block += lower[rows, :stop]
        full[rows, :start] = block[:, :start]
        full[:start, rows] = block[:, :start].T
        corner = np.tril(block[:, start:])
        full[rows, rows] = corner + np.tril(corner, -1).T
    return full


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Return the columns with signs such that their largest entry in magnitude is positive.

    Of entries within a thousandth of the largest the first one decides: symmetric vectors, whose
    two largest entries differ by rounding only, then have the same sign on every machine.
    """
    magnitude = np.abs(vectors)
    first = np.argmax(magnitude >= 0.999 * magnitude.max(axis=0), axis=0)
    signs = np.where(vectors[first, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    return vectors * signs.astype(vectors.dtype)


def complete(vectors: np.ndarray, rank: int) -> np.ndarray:
    """Return `rank` orthonormal columns, the first of which are the orthonormal `vectors`.

    The added ones are the same in every run; which ones they are has no meaning.
    """
    n, have = vectors.shape
    if have >= rank:
        return vectors
    extra = np.random.default_rng(0).standard_normal((n, rank - have))
    # Twice is enough (Kahan): the second projection removes what rounding left of the first.
    for _ in range(2):
        extra -= vectors @ (vectors.T @ extra)
        extra = np.linalg.qr(extra)[0]
    return np.concatenate([vectors, fix_signs(extra)], axis=1)
