"""Reductions and elementwise operations along the last axis, fast in eager torch.

Calling torch through `keras.ops` takes longer than a small operation itself, so the torch backend
uses the methods of the tensor.
"""

from typing import Any

import keras

_IS_TORCH = keras.backend.backend() == "torch"


def largest(x: Any) -> Any:
    """Return the maximum along the last axis, which is kept with size 1."""
    if _IS_TORCH:
        return x.amax(-1, keepdim=True)
    # Without `initial`, Keras refuses tensors without rows.
    return keras.ops.max(x, axis=-1, keepdims=True, initial=float("-inf"))


def total(x: Any) -> Any:
    """Return the sum along the last axis, which is kept with size 1."""
    return x.sum(-1, keepdim=True) if _IS_TORCH else keras.ops.sum(x, axis=-1, keepdims=True)


def row_sums(x: Any) -> Any:
    """Return the sum along the last axis, which is removed."""
    return x.sum(-1) if _IS_TORCH else keras.ops.sum(x, axis=-1)


def relu(x: Any) -> Any:
    """Return `max(x, 0)`; NaN stays NaN."""
    return x.relu() if _IS_TORCH else keras.ops.relu(x)


def at_least(x: Any, low: float) -> Any:
    """Return `max(x, low)`; NaN stays NaN."""
    return x.clamp_min(low) if _IS_TORCH else keras.ops.maximum(x, low)


def sign(x: Any) -> Any:
    """Return the sign of `x`, -1, 0 or 1, in the dtype of `x`."""
    return x.sign() if _IS_TORCH else keras.ops.sign(x)


def fixed(x: Any) -> Any:
    """Return `x` as a constant: no gradient flows through it."""
    return x.detach() if _IS_TORCH else keras.ops.stop_gradient(x)


def cast(x: Any, dtype: Any) -> Any:
    """Return `x` in a dtype of the backend."""
    if x.dtype == dtype:
        return x
    return x.to(dtype) if _IS_TORCH else keras.ops.cast(x, dtype)
