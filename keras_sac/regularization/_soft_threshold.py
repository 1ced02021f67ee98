"""The proximal operators of L1 and of the group lasso."""

from typing import Any

from keras import ops

from keras_sac import _backend


def soft_threshold(v: Any, t: Any) -> Any:
    """Move each weight towards zero by a threshold, and set weights below it to zero.

    `argmin_w 1/2 ||v - w||^2 + t ||w||_1 = sign(v) max(|v| - t, 0) = v - min(max(v, -t), t)`

    Args:
        v: float tensor. NaN entries remain NaN.
        t: the threshold, >= 0; scalar tensor with the dtype of `v`. With 0 nothing changes.

    Returns:
        A tensor with the shape of `v`.

    Reference:
        Parikh and Boyd, "Proximal algorithms", 2014, section 6.5.2,
        https://doi.org/10.1561/2400000003
    """
    # The last form needs no `sign`, and never returns -0.0.
    return ops.subtract(v, _backend.clip_symmetric(v, t))


def group_soft_threshold(v: Any, t: Any, axis: int) -> Any:
    """Shrink the norm of each slice along an axis by a threshold, and set slices below it to zero.

    `argmin_w 1/2 ||v - w||^2 + t sum_j ||w_j||_2`: `w_j = v_j max(1 - t / ||v_j||_2, 0)`

    Args:
        v: float tensor with at least one axis. A slice that contains NaN becomes NaN.
        t: the threshold, >= 0; scalar tensor with the dtype of `v`. With 0 nothing changes.
        axis: the axis that numbers the slices, >= 0.

    Returns:
        A tensor with the shape of `v`.

    Reference:
        Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006,
        https://doi.org/10.1111/j.1467-9868.2005.00532.x
    """
    others = tuple(a for a in range(len(v.shape)) if a != axis)
    # Torch sums over all axes if the tuple of axes is empty.
    norm = ops.sqrt(ops.sum(ops.square(v), others, keepdims=True)) if others else ops.abs(v)
    # Not `max(..., 0)`, which may turn NaN into zero.
    zero = ops.less_equal(norm, t)
    shrunk = ops.multiply(v, 1 - ops.divide(t, ops.where(zero, ops.ones_like(norm), norm)))
    return ops.where(zero, ops.zeros_like(v), shrunk)
