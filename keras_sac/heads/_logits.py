"""Logits and axes that users give: checked in one way, with one kind of message."""

import operator
from typing import Any

import keras
from keras import ops


def as_logits(name: str, x: Any, axis: int) -> tuple[Any, int]:
    """Return `x` as a float tensor, and `axis` counted from its first axis.

    Args:
        name: of the function that was called, for the message.
        x: array or tensor of at least one axis.
        axis: the axis of the classes, negative from the end.

    Raises:
        ValueError: if `x` is not of a float dtype, has no such axis, or none along it.
    """
    x = ops.convert_to_tensor(x)
    return x, check_logits(name, x, axis)


def check_logits(name: str, x: Any, axis: int) -> int:
    """Return `axis` counted from the first axis of `x`, a tensor, symbolic or not.

    Raises:
        ValueError: as `as_logits`.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"`{name}` needs floating-point logits. Received: dtype={dtype}. Convert them first: "
            "`keras.ops.cast(x, 'float32')`."
        )
    axis = checked_axis(name, axis, len(x.shape))
    if x.shape[axis] == 0:
        raise ValueError(
            f"`{name}` needs at least one class. Received: shape={tuple(x.shape)} with nothing "
            f"along axis {axis}."
        )
    return axis


def checked_axis(name: str, axis: Any, rank: int) -> int:
    """Return `axis` counted from the first of `rank` axes.

    Raises:
        ValueError: if it is no integer in `[-rank, rank)`.
    """
    axis = integer_axis(name, axis)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` of `{name}` must be in [{-rank}, {rank}) for logits of {rank} axes. "
            f"Received: axis={axis}"
            if rank
            else f"`{name}` needs logits of at least one axis. Received a scalar."
        )
    return axis % rank


def integer_axis(name: str, axis: Any) -> int:
    """Return `axis` if it is an integer.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(axis, bool):
        try:
            return operator.index(axis)
        except TypeError:
            pass
    raise ValueError(f"`axis` of `{name}` must be an integer. Received: axis={axis!r}")
