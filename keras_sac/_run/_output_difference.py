"""Compare outputs with the expected ones."""

from typing import Any

import numpy as np


def largest_difference(found: Any, expected: Any) -> tuple[float, float]:
    """Return the largest absolute difference, and the largest finite expected magnitude.

    NaN in both arrays, or the same infinity in both, counts as equal. NaN or an infinity in only
    one array counts as an infinite difference.

    Args:
        found: numbers of any shape, or texts, which are equal or infinitely different.
        expected: the same of the same shape.
    """
    if np.asarray(expected).dtype.kind in "OSU":
        same = np.asarray(found).astype(np.str_) == np.asarray(expected).astype(np.str_)
        return (0.0 if same.all() else np.inf), 0.0
    found, expected = np.asarray(found, "float64"), np.asarray(expected, "float64")
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(found - expected))
    finite = np.isfinite(expected)
    largest = float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0))
    return largest, float(np.abs(expected).max(where=finite, initial=0.0))
