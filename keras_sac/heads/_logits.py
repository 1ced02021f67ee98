"""Check the logits and the axis that users pass, and choose the dtype to compute in."""

import operator
from typing import Any

import keras
from keras import ops


def as_logits(name: str, x: Any, axis: int) -> tuple[Any, int]:
    """Return `x` as a float tensor, and `axis` counted from its first axis.

    Args:
        name: of the function or class that was called, for the error message.
        x: array or tensor with at least one axis.
        axis: the axis of the classes; negative values count from the end.

    Raises:
        ValueError: if the dtype of `x` is not floating point, if `axis` is out of range, or if
            there are no classes along it.
    """
    x = ops.convert_to_tensor(x)
    return x, check_logits(name, x, axis)


def check_logits(name: str, x: Any, axis: int) -> int:
    """Return `axis` counted from the first axis of `x`, a tensor or a `KerasTensor`.

    Raises:
        ValueError: as in `as_logits`.
    """
    dtype = keras.backend.standardize_dtype(x.dtype)
    if "float" not in dtype:
        raise ValueError(
            f"`{name}` expects floating-point logits. Received: dtype={dtype}. Convert them first: "
            "`keras.ops.cast(x, 'float32')`."
        )
    axis = checked_axis(name, axis, len(x.shape))
    if x.shape[axis] == 0:
        raise ValueError(
            f"`{name}` expects at least one class along the axis {axis}. Received: "
            f"shape={tuple(x.shape)}"
        )
    return axis


def wide(dtype: Any) -> str:
    """Return the dtype that a head computes in: float64 for float64, else float32.

    `keras.backend.result_type` knows no float64 on torch and JAX.
    """
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def checked_axis(name: str, axis: Any, rank: int) -> int:
    """Return `axis` counted from the first of `rank` axes.

    Raises:
        ValueError: if `axis` is not an integer in `[-rank, rank)`.
    """
    axis = integer_axis(name, axis)
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` of `{name}` must be in [{-rank}, {rank}) for logits with {rank} axes. "
            f"Received: axis={axis}"
            if rank
            else f"`{name}` expects logits with at least one axis. Received: a scalar"
        )
    return axis % rank


def integer_axis(name: str, axis: Any) -> int:
    """Return `axis` as an integer.

    Raises:
        ValueError: if `axis` is not an integer.
    """
    if not isinstance(axis, bool):
        try:
            return operator.index(axis)
        except TypeError:
            pass
    raise ValueError(f"`axis` of `{name}` must be an integer. Received: axis={axis!r}")
