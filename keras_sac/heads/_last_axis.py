"""`keras.ops` for what the heads calculate along the last axis.

In eager torch the way through Keras takes longer than a small operation itself, so there it is the
tensor's own method.
"""

from typing import Any

import keras

_IS_TORCH = keras.backend.backend() == "torch"


def largest(x: Any) -> Any:
    """Return the maximum along the last axis, which stays."""
    if _IS_TORCH:
        return x.amax(-1, keepdim=True)
    return keras.ops.max(x, axis=-1, keepdims=True)


def total(x: Any) -> Any:
    """Return the sum along the last axis, which stays."""
    return x.sum(-1, keepdim=True) if _IS_TORCH else keras.ops.sum(x, axis=-1, keepdims=True)


def row_sums(x: Any) -> Any:
    """Return the sum along the last axis, which goes."""
    return x.sum(-1) if _IS_TORCH else keras.ops.sum(x, axis=-1)


def relu(x: Any) -> Any:
    """Return `max(x, 0)`; NaN stays."""
    return x.relu() if _IS_TORCH else keras.ops.relu(x)


def at_least(x: Any, low: float) -> Any:
    """Return `max(x, low)`; NaN stays."""
    return x.clamp_min(low) if _IS_TORCH else keras.ops.maximum(x, low)


def sign(x: Any) -> Any:
    """Return -1, 0 or 1, of the same dtype."""
    return x.sign() if _IS_TORCH else keras.ops.sign(x)


def fixed(x: Any) -> Any:
    """Return `x` without its derivative."""
    return x.detach() if _IS_TORCH else keras.ops.stop_gradient(x)


def cast(x: Any, dtype: Any) -> Any:
    """Return `x` of the dtype of another tensor of the backend."""
    if x.dtype == dtype:
        return x
    return x.to(dtype) if _IS_TORCH else keras.ops.cast(x, dtype)
