"""Mean and scatter of one batch, and their sum with those of other samples."""

import numpy as np
from scipy.linalg import blas

from keras_sac.bases._device import gram

# With fewer rows, the product in double precision takes less time than the sum of two matrices.
_FEW = 128
# Errors of single precision are about 1e-7 of the product of two deviations. Where this many
# features explain the others up to this fraction of their variance, the rest would drown in them.
_PIVOTS = 16
_REST = 1e-2
# Its square fits into single precision.
_LARGEST = 1e19


def batch_mean(rows: np.ndarray, where: str) -> np.ndarray:
    """Return the mean of the rows, float64; that of equal float32 values is exact.

    Args:
        rows: shape `(samples, features)`, real, at least one row.
        where: name of the batch in an error.

    Raises:
        ValueError: if a value, or the square of the mean, is not finite in float32.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = rows.mean(axis=0, dtype=np.float64)
        finite = np.all(np.isfinite(mean.astype(np.float32)))
    if not finite:
        _raise_not_finite(rows, where)
    if np.abs(mean).max() > _LARGEST:
        _raise_too_large(np.abs(rows).max(), where)
    return mean


def check_finite(rows: np.ndarray, where: str) -> None:
    """Raise a `ValueError` that names the first bad value unless all rows are finite numbers."""
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"The data must hold real numbers. Received: {where} of {rows.dtype}")
    batch_mean(rows, where)


def centered(
    rows: np.ndarray, mean: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return `X`, the rows minus their mean, and `XᵀX` if single precision is enough for it.

    The product is most of the work of a pass, and single precision takes less than half the time.
    Its errors are relative to the variance of the batch. So they hurt only where a few directions
    hold almost all of it, as in a batch of dark and bright images: there the product is left to
    `add_product`, in double precision.

    Args:
        rows: shape `(samples, features)`, real.
        mean: their mean, float64.
        where: name of the batch in an error.

    Returns:
        `X`, C-contiguous: float32 with a product of shape `(features, features)`, of which only
        the lower triangle is meaningful; or float64 and `None`.

    Raises:
        ValueError: if the square of a value is not finite in float32.
    """
    if len(rows) >= _FEW:
        x = np.empty(rows.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            np.subtract(rows, mean, out=x, casting="same_kind")
            product = gram(x)
        if not np.all(np.isfinite(np.diagonal(product))):
            _raise_too_large(np.abs(rows).max(), where)
        if not _is_almost_singular(product):
            return x, product
    x = np.subtract(rows, mean, dtype=np.float64, order="C")
    largest = np.abs(x).max()
    if largest > _LARGEST:
        _raise_too_large(largest, where)
    return x, None


def add_product(scatter: np.ndarray, x: np.ndarray, product: np.ndarray | None) -> None:
    """Add `XᵀX` in double precision to the lower triangle of `scatter`, in place.

    Args:
        scatter: shape `(features, features)`, float64, C-contiguous.
        x: `X`, as `centered` returns it.
        product: `XᵀX` if it is known.
    """
    if product is None:
        # The transposes are Fortran-contiguous, so BLAS works in place. They make the upper
        # triangle the lower one.
        blas.dsyrk(1.0, x.T, beta=1.0, c=scatter.T, lower=0, overwrite_c=1)
    else:
        scatter += product


def add_between(scatter: np.ndarray, counts: tuple[int, int], difference: np.ndarray) -> None:
    """Add the scatter of two means to the lower triangle of `scatter`, in place.

    `Σ (x - m)(x - m)ᵀ` of two sets of samples together is the sum of both, each around its own
    mean, and `n₁ n₂ / (n₁ + n₂) δ δᵀ` with the difference `δ` of the means.

    Args:
        scatter: shape `(features, features)`, float64, C-contiguous.
        counts: `n₁` and `n₂`.
        difference: `δ`, shape `(features,)`.

    Reference:
        Chan, Golub & LeVeque, 1983, "Algorithms for Computing the Sample Variance".
    """
    weight = counts[0] * (counts[1] / (counts[0] + counts[1]))
    blas.dsyr(weight, difference, lower=0, a=scatter.T, overwrite_a=1)


def class_sums(x: np.ndarray, index: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the sums of the rows of each class, shape `(n_classes, features)`, float64.

    Args:
        x: shape `(samples, features)`.
        index: class of each row, shape `(samples,)`.
        n_classes: number of classes.
    """
    sums = np.zeros((n_classes, x.shape[1]))
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=n_classes))
    # Faster than an indicator matrix in double precision, without a copy in that type.
    for c in np.unique(index):
        start = ends[c - 1] if c else 0
        sums[c] = x[order[start : ends[c]]].sum(axis=0, dtype=np.float64)
    return sums


def _is_almost_singular(product: np.ndarray) -> bool:
    """Return whether a few features explain almost all variance of the others.

    Partial Cholesky decomposition of the correlations with pivots: each step takes the feature that
    is explained least, and reads only its row and column.
    """
    scale = np.sqrt(np.diagonal(product).astype(np.float64))
    varies = scale > 0
    scale[~varies] = 1.0
    rest = varies.astype(np.float64)
    limit = _REST * rest.sum()
    factor = np.zeros((min(_PIVOTS, len(rest)), len(rest)))
    for row in factor:
        pivot = int(np.argmax(rest))
        if rest[pivot] <= 0:
            break
        column = np.concatenate([product[pivot, :pivot], product[pivot:, pivot]])
        row[:] = column / scale / scale[pivot] - factor[:, pivot] @ factor
        row /= np.sqrt(rest[pivot])
        rest -= np.square(row)
        rest[pivot] = 0.0
    return float(np.maximum(rest, 0.0).sum()) <= limit


def _raise_not_finite(rows: np.ndarray, where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(rows.astype(np.float32))
    if not bad.any():
        _raise_too_large(np.abs(rows).max(), where)
    column = int(np.flatnonzero(bad.any(axis=0))[0])
    row = int(np.flatnonzero(bad[:, column])[0])
    raise ValueError(
        f"The data must be finite in float32. Received: {where} with NaN, infinite or too large "
        f"values; the first bad column is {column}, where sample {row} is {rows[row, column]}. "
        "Drop such samples, or replace the values."
    )


def _raise_too_large(largest: float, where: str) -> None:
    raise ValueError(
        "The data must be below 1e19, so that squares fit into single precision. Received: "
        f"{where} with a value of {largest:.3g}. Scale the data down."
    )
