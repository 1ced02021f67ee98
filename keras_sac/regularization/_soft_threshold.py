"""The proximal operators of L1 and of the group lasso."""

from typing import Any

from keras import ops

from keras_sac import _backend


def soft_threshold(v: Any, t: Any) -> Any:
    """Move each weight towards zero by a threshold; what it reaches is exactly zero.

    `argmin_w 1/2 ||v - w||^2 + t ||w||_1 = sign(v) max(|v| - t, 0) = v - min(max(v, -t), t)`

    Args:
        v: float tensor; NaN stays NaN.
        t: at least 0, scalar tensor of the same dtype. With 0 nothing changes.

    Returns:
        A tensor of the shape of `v`.

    Reference:
        Parikh and Boyd, "Proximal algorithms", 2014, section 6.5.2,
        https://doi.org/10.1561/2400000003
    """
    # The last form needs no sign, and never gives -0.
    return ops.subtract(v, _backend.limited(v, t))


def group_soft_threshold(v: Any, t: Any, axis: int) -> Any:
    """Move each slice along an axis towards zero, as a whole, by a threshold of its norm.

    `argmin_w 1/2 ||v - w||^2 + t sum_j ||w_j||_2`: `w_j = v_j max(1 - t / ||v_j||_2, 0)`

    Args:
        v: float tensor of one axis or more; a slice with a NaN becomes NaN.
        t: at least 0, scalar tensor of the same dtype. With 0 nothing changes.
        axis: that numbers the slices, at least 0.

    Returns:
        A tensor of the shape of `v`.

    Reference:
        Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006,
        https://doi.org/10.1111/j.1467-9868.2005.00532.x
    """
    others = tuple(a for a in range(len(v.shape)) if a != axis)
    # Torch takes a sum over no axes for one over all.
    norm = ops.sqrt(ops.sum(ops.square(v), others, keepdims=True)) if others else ops.abs(v)
    # Not `max(..., 0)`, of which a NaN might come out as a zero.
    gone = ops.less_equal(norm, t)
    kept = ops.multiply(v, 1 - ops.divide(t, ops.where(gone, ops.ones_like(norm), norm)))
    return ops.where(gone, ops.zeros_like(v), kept)
