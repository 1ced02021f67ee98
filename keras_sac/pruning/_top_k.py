"""Find the k-th largest score exactly by bisection and counting, without a sort."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend


def keep_top_k(
    scores: Sequence[Any], k: Any, weights: Sequence[int | np.ndarray] | None = None
) -> list[Any]:
    """Mark the `k` largest of all scores, and scores that equal the smallest of these.

    `keep_i = (score_i >= t),  t = max {t : sum_i weight_i [score_i >= t] >= k}`

    Non-negative floats have the same order as their bit patterns read as integers. So bisection
    over the 31 bits of a pattern finds the exact threshold in at most 31 passes that compare and
    count. The search stops early at a threshold that keeps exactly `k`. If the backend can select
    the k-th largest integer itself, that is used instead.

    Args:
        scores: float32 or float64 tensors of any shapes, ranked together. NaN and negative scores
            are never kept.
        k: number to keep, in units of `weights`; integer scalar tensor.
        weights: for each tensor, how many units one of its scores counts, at least 1; an integer
            array of the shape of the tensor if they differ. Defaults to 1.

    Returns:
        Boolean tensors with the shapes of `scores`.
    """
    sizes = [
        w if isinstance(w, int) else ops.convert_to_tensor(w, "int32")
        for w in weights or [1] * len(scores)
    ]
    wide = any(keras.backend.standardize_dtype(s.dtype) == "float64" for s in scores)
    integer, bits = ("int64", 63) if wide else ("int32", 31)
    keys = [_key(tensor, "float64" if wide else "float32", integer) for tensor in scores]
    k = ops.cast(k, "int32")
    equal = all(isinstance(size, int) and size == 1 for size in sizes)
    threshold = _backend.kth_largest(keys, k) if equal else None
    if threshold is None:
        threshold = _bisected(keys, k, sizes, integer, bits)
    return [ops.greater_equal(key, threshold) for key in keys]


def _bisected(keys: Sequence[Any], k: Any, sizes: Sequence[Any], integer: str, bits: int) -> Any:
    """Return the largest threshold that at least `k` units reach; 0 if there is none."""

    def count(threshold: Any) -> Any:
        parts = [
            ops.cast(ops.sum(ops.greater_equal(key, threshold)), "int32") * size
            if isinstance(size, int)
            else ops.sum(ops.where(ops.greater_equal(key, threshold), size, 0))
            for key, size in zip(keys, sizes, strict=True)
        ]
        return ops.cast(sum(parts[1:], parts[0]), "int32")

    # Invariant: at least k units are >= `low`, and fewer than k are >= `low + 2 ** (bit + 1)`.
    def is_open(bit: Any, low: Any, reached: Any) -> Any:
        return ops.logical_and(ops.greater_equal(bit, 0), ops.not_equal(reached, k))

    def halve(bit: Any, low: Any, reached: Any) -> tuple[Any, Any, Any]:
        middle = low + ops.left_shift(ops.cast(1, integer), ops.cast(bit, integer))
        number = count(middle)
        enough = ops.greater_equal(number, k)
        return (
            bit - 1,
            ops.where(enough, middle, low),
            ops.where(enough, number, reached),
        )

    zero = ops.cast(0, integer)
    start = (ops.cast(bits - 1, "int32"), zero, count(zero))
    return ops.while_loop(is_open, halve, start)[1]


def _key(scores: Any, dtype: str, integer: str) -> Any:
    scores = ops.cast(scores, dtype)
    # -0.0 equals 0.0, but its bit pattern is a negative integer. The absolute value avoids that.
    pattern = ops.view(ops.abs(scores), integer)
    # Not `scores >= 0`, which XLA takes for true if the scores are magnitudes, even for NaN.
    never = ops.logical_or(ops.isnan(scores), ops.less(scores, 0))
    return ops.where(never, ops.cast(-1, integer), pattern)
