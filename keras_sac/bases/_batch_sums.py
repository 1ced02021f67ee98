"""Sums and products of one batch around a fixed shift, to be added to the moments."""

import numpy as np
from scipy.linalg import blas

from keras_sac.bases._device import gram

# Rows per product: sums of more products in single precision would lose digits.
_ROWS = 8192

Labels = tuple[np.ndarray, np.ndarray]


def batch_mean(rows: np.ndarray, where: str) -> np.ndarray:
    """Return the mean of the rows, rounded to single precision, as float64.

    The difference of a constant feature and its mean is then exactly zero.

    Args:
        rows: shape `(samples, features)`.
        where: name of the batch in an error.

    Raises:
        ValueError: if a value is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.all(np.isfinite(mean)):
        _raise_not_finite(rows, 0, where)
    return mean.astype(np.float64)


def check_finite(rows: np.ndarray, where: str) -> None:
    """Raise a `ValueError` that names the first bad value unless all rows are finite numbers."""
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"The data must hold real numbers. Received: {where} of {rows.dtype}")
    batch_mean(rows, where)


def batch_sums(
    rows: np.ndarray, shift: np.ndarray, labels: Labels | None, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `Σ (x - c)`, `Σ (x - c)(x - c)ᵀ` and `Σ (x - c)` by class.

    Args:
        rows: shape `(samples, features)`, real, at least one row.
        shift: `c`, shape `(features,)`, float64, exact in float32.
        labels: the classes of the batch, and the index of each row in them.
        where: name of the batch in an error.

    Returns:
        Arrays of shape `(features,)`, `(features, features)` of which only the lower triangle is
        meaningful, and `(n_classes, features)`.

    Raises:
        ValueError: if a value, or the square of one, is not finite in float32.
    """
    # Types that do not fit into single precision are shifted in double precision.
    origin = shift.astype(np.float32)
    if np.result_type(rows.dtype, np.float32) != np.float32:
        origin = shift
    total = np.zeros(rows.shape[1])
    ones = np.ones(min(len(rows), _ROWS), np.float32)
    class_sums = np.zeros((0 if labels is None else len(labels[0]), rows.shape[1]))
    scatter: np.ndarray | None = None
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            x = np.empty(chunk.shape, np.float32)
            np.subtract(chunk, origin, out=x, casting="same_kind")
            # In single precision, as the products: the summands are close to zero.
            total += blas.sgemv(1.0, x.T, ones[: len(x)])
            if not np.all(np.isfinite(total)):
                _raise_not_finite(chunk, start, where)
            product = gram(x)
        if not np.all(np.isfinite(np.diagonal(product))):
            _raise_too_large(np.abs(x).max(), where)
        scatter = product if scatter is None else np.add(scatter, product, dtype=np.float64)
        if labels is not None:
            _add_by_class(class_sums, x, labels[1][start : start + _ROWS])
    if scatter is None:
        raise ValueError(f"The data must have samples. Received: {where} without any")
    return total, scatter, class_sums


def _add_by_class(sums: np.ndarray, x: np.ndarray, index: np.ndarray) -> None:
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=len(sums)))
    # Faster than an indicator matrix in double precision, without a copy in that type.
    for c in np.unique(index):
        start = ends[c - 1] if c else 0
        sums[c] += x[order[start : ends[c]]].sum(axis=0, dtype=np.float64)


def _raise_not_finite(rows: np.ndarray, first: int, where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(rows.astype(np.float32))
    if not bad.any():
        _raise_too_large(np.abs(rows).max(), where)
    column = int(np.flatnonzero(bad.any(axis=0))[0])
    row = int(np.flatnonzero(bad[:, column])[0])
    raise ValueError(
        f"The data must be finite in float32. Received: {where} with NaN, infinite or too large "
        f"values; the first bad column is {column}, where sample {first + row} is "
        f"{rows[row, column]}. Drop such samples, or replace the values."
    )


def _raise_too_large(largest: float, where: str) -> None:
    raise ValueError(
        "The data must be below 1e19, so that squares fit into single precision. Received: "
        f"{where} with a value of {largest:.3g}. Scale the data down."
    )
