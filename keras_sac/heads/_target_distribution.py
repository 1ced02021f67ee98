"""Convert labels to distributions over the classes."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend


def as_labels(labels: Any, logits: Any, axis: int) -> tuple[Any, bool]:
    """Return labels as a tensor, and whether they are class numbers.

    Args:
        labels: class numbers of the shape of `logits` without `axis`, or with 1 along it; or
            distributions (one-hot or not) of the shape of `logits`.
        logits: the tensor that the labels belong to.
        axis: the axis of the classes, not negative.

    Returns:
        Class numbers as int32 without `axis`, or distributions as they are; and a flag.

    Raises:
        ValueError: if the shapes do not match.
    """
    labels = ops.convert_to_tensor(labels)
    shape, wanted = tuple(labels.shape), tuple(logits.shape)
    if wanted[axis] is None:
        raise ValueError(
            f"The number of classes must be known. Received: logits.shape={wanted}, axis={axis}"
        )
    if len(shape) == len(wanted) and shape[axis] is None:
        raise ValueError(
            "The size of the labels along the axis of the classes must be known: it tells class "
            f"numbers from distributions. Received: labels.shape={shape}, axis={axis}"
        )
    without = wanted[:axis] + wanted[axis + 1 :]
    if _fits(shape, wanted):
        return labels, False
    if _fits(shape, without):
        return ops.cast(labels, "int32"), True
    if _fits(shape, (*wanted[:axis], 1, *wanted[axis + 1 :])):
        return ops.cast(ops.squeeze(labels, axis=axis), "int32"), True
    raise ValueError(
        f"Labels must be class numbers of shape {without} or distributions of shape {wanted}. "
        f"Received: labels.shape={shape}, logits.shape={wanted}, axis={axis}"
    )


def as_distribution(labels: Any, logits: Any, axis: int, smoothing: float) -> Any:
    """Return the labels as a distribution over the classes.

    `y <- (1 - smoothing) y + smoothing / classes`

    Args:
        labels: as for `as_labels`.
        logits: the tensor that the labels belong to.
        axis: the axis of the classes, not negative.
        smoothing: number in [0, 1].

    Returns:
        A tensor of the shape and dtype of `logits`. Class numbers out of range become NaN where
        they cannot be read: in a compiled step, and by torch from an accelerator.

    Raises:
        ValueError: if the shapes do not match, or a class number is out of range.
    """
    labels, are_numbers = as_labels(labels, logits, axis)
    classes = logits.shape[axis]
    dtype = keras.backend.standardize_dtype(logits.dtype)
    y = _one_hot(labels, classes, axis, dtype) if are_numbers else ops.cast(labels, dtype)
    return (1.0 - smoothing) * y + smoothing / classes if smoothing else y


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )


def _one_hot(labels: Any, classes: int, axis: int, dtype: str) -> Any:
    known = ops.logical_and(labels >= 0, labels < classes)
    if not (_backend.is_traced(labels) or _backend.reading_waits(labels)):
        values, fine = (ops.convert_to_numpy(t) for t in (labels, known))
        if not np.all(fine):
            raise ValueError(
                f"Class numbers must be in [0, {classes}). Received: "
                f"{sorted(set(values[~fine].tolist()))[:5]}. For samples without a class, pass a "
                "`sample_weight` of 0, or their class number as `ignore_class`."
            )
    # A number out of range would stop a GPU with an error that only a new process mends.
    y = ops.one_hot(ops.where(known, labels, 0), classes, axis=axis, dtype=dtype)
    # A compiled step cannot raise an error, and must not return a loss that looks valid.
    return ops.where(ops.expand_dims(known, axis), y, float("nan"))
