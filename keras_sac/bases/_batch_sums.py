"""What one batch adds to the moments: sums and products around a fixed shift."""

import numpy as np
from scipy.linalg import blas

from keras_sac.bases._device import gram

# Rows multiplied at once: sums of more single-precision products would lose digits.
_ROWS = 8192

Labels = tuple[np.ndarray, np.ndarray]


def batch_mean(rows: np.ndarray, where: str) -> np.ndarray:
    """Return the mean of the rows, rounded to single precision and held in double.

    A constant feature then differs from it by exactly nothing.

    Args:
        rows: shape `(samples, features)`.
        where: what an error calls the batch.

    Raises:
        ValueError: if a value is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    if not np.all(np.isfinite(mean)):
        _raise_not_finite(rows, 0, where)
    return mean.astype(np.float64)


def check_finite(rows: np.ndarray, where: str) -> None:
    """Raise a `ValueError` that names the first bad value if `rows` are not all finite numbers."""
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"{where} must hold real numbers; received an array of {rows.dtype}.")
    batch_mean(rows, where)


def batch_sums(
    rows: np.ndarray, shift: np.ndarray, labels: Labels | None, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `Σ (x - c)`, `Σ (x - c)(x - c)ᵀ` and `Σ (x - c)` by class.

    Args:
        rows: shape `(samples, features)`, real, at least one row.
        shift: `c`, shape `(features,)`, float64, exact in float32.
        labels: the classes of the batch, and the index of each row among them.
        where: what an error calls the batch.

    Returns:
        Arrays of shape `(features,)`, `(features, features)` with only its lower triangle
        meaningful, and `(n_classes, features)`.

    Raises:
        ValueError: if a value, or the square of one, is not finite in float32.
    """
    # Types that single precision cannot hold are shifted in double precision.
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
            # In single precision, as the products: what is summed lies around zero.
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
        raise ValueError(f"{where} has no samples.")
    return total, scatter, class_sums


def _add_by_class(sums: np.ndarray, x: np.ndarray, index: np.ndarray) -> None:
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(np.bincount(index, minlength=len(sums)))
    # Faster than an indicator matrix in double precision, and without a copy in that type.
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
        f"{where} has NaN, infinite or (for float32) too large values: the first bad column is "
        f"{column}, there sample {first + row} of the batch is {rows[row, column]}. Drop such "
        "samples or fill the values in."
    )


def _raise_too_large(largest: float, where: str) -> None:
    raise ValueError(
        f"{where} has values whose squares exceed single precision: the largest is {largest:.3g}, "
        "expected less than 1e19. Scale the data down."
    )
