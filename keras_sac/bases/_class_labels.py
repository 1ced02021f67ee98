"""Read the class labels of a batch, and merge sets of classes."""

import numbers
from typing import Any

import numpy as np

# A union of two sets of classes, and the positions of the first and the second set in it.
Merged = tuple[np.ndarray, np.ndarray, np.ndarray]


def unique_labels(
    y: np.ndarray, leading: tuple[int, ...], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that occur in `y`, sorted, and the index of each label in them.

    Args:
        y: integers (of any type, whole floats too) or strings, of shape `leading` or
            `leading + (1,)`.
        leading: shape of the samples.
        where: name of the batch in an error.

    Returns:
        Classes, shape `(n_classes,)`, and indices, shape `(n_samples,)`.

    Raises:
        ValueError: if the labels are one-hot, have another shape, are not classes, or are missing.
    """
    if y.shape not in (leading, (*leading, 1)):
        if y.ndim == len(leading) + 1 and y.shape[:-1] == leading:
            raise ValueError(
                f"Labels must be class indices. Received: {where} with labels of shape {y.shape} "
                f"for samples of shape {leading}, as if one-hot. Use `np.argmax(y, axis=-1)`."
            )
        raise ValueError(
            f"Labels must have one entry per sample. Received: {where} with labels of shape "
            f"{y.shape} for samples of shape {leading}"
        )
    if y.dtype.kind in "OT":
        # As text, a missing label would be a class named "nan".
        _check_missing(np.array([_is_missing(label) for label in y.reshape(-1)]), where)
        y = np.asarray(y.tolist())
    if y.dtype.kind == "f":
        _check_missing(np.isnan(y.reshape(-1)), where)
        whole = y.astype(np.int64, casting="unsafe") if np.all(np.isfinite(y)) else None
        if whole is None or not np.array_equal(whole, y):
            raise ValueError(
                f"Labels must be integers or strings. Received: {where} with labels that are not "
                "whole numbers"
            )
        y = whole
    if y.dtype.kind in "biu":
        y = y.astype(np.int64)
    elif y.dtype.kind not in "US":
        raise ValueError(f"Labels must be integers or strings. Received: {where}, with {y.dtype}")
    classes, index = np.unique(y.reshape(-1), return_inverse=True)
    return classes, index


def _is_missing(label: Any) -> bool:
    """Return whether a label is `None`, NaN, or one of pandas' `NA` and `NaT`."""
    is_nan = isinstance(label, numbers.Real) and label != label
    return label is None or is_nan or type(label).__name__ in ("NAType", "NaTType")


def _check_missing(missing: np.ndarray, where: str) -> None:
    if missing.any():
        raise ValueError(
            f"Labels must not be missing. Received: {where} with {np.count_nonzero(missing)} of "
            f"{missing.size} labels that are NaN or None; the first is that of sample "
            f"{int(np.argmax(missing))}. Drop such samples, or give them a class of their own."
        )


def merge_classes(old: np.ndarray | None, new: np.ndarray) -> Merged:
    """Return the union of two sorted sets of classes, and the positions of each set in it.

    Raises:
        ValueError: if one set holds integers and the other strings.
    """
    if old is None:
        return new.copy(), np.zeros(0, np.intp), np.arange(len(new))
    if (old.dtype.kind == "i") != (new.dtype.kind == "i"):
        raise ValueError(
            f"Labels must be all integers or all strings. Received: {new.dtype} after {old.dtype}"
        )
    union = np.union1d(old, new)
    return union, np.searchsorted(union, old), np.searchsorted(union, new)
