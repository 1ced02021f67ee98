"""Compute sparse probabilities from logits, by an explicit formula on the support.

The search for the support is not differentiated. On the support the probabilities are an explicit
function of the logits, and its derivative is the closed form of the papers. So automatic
differentiation of each backend gives that closed form, forwards, backwards and repeatedly.
"""

from typing import Any

from keras import ops

from keras_sac.heads._last_axis import at_least, cast, fixed, largest, relu, sign, total
from keras_sac.heads._logits import wide
from keras_sac.heads._support import among_few, are_few, threshold


def probabilities(x: Any, power: int, axis: int) -> Any:
    """Return the probabilities of a sparse head.

    Args:
        x: float tensor of logits.
        power: `q`: 1 for sparsemax, 2 for entmax 1.5.
        axis: the axis of the classes, not negative.

    Returns:
        Tensor of the shape and dtype of `x`.
    """
    return cast(project(x, power, axis)[0], x.dtype)


def project(x: Any, power: int, axis: int) -> tuple[Any, Any, Any]:
    """Return the probabilities, the scaled logits and the threshold.

    `p_i = max(z_i - tau, 0)^q`,  `sum_i p_i = 1`,  with `z = (x - max x) / q`

    Args:
        x: float tensor of logits.
        power: `q`: 1 for sparsemax, 2 for entmax 1.5.
        axis: the axis of the classes, not negative.

    Returns:
        `p`, `z` and `tau` (of size 1 along `axis`); float64 for float64 logits, else float32.
    """
    last = len(x.shape) - 1
    x = ops.cast(x, wide(x.dtype))
    if axis == last:
        return _on_last_axis(x, power)
    p, z, tau = _on_last_axis(ops.moveaxis(x, axis, -1), power)
    return ops.moveaxis(p, -1, axis), ops.moveaxis(z, -1, axis), ops.moveaxis(tau, -1, axis)


def _on_last_axis(x: Any, power: int) -> tuple[Any, Any, Any]:
    z = x - largest(fixed(x))
    if power > 1:
        z = z / power
    if are_few(tuple(x.shape)):
        base = -1.0
        # Logits more than 1 below the largest have probability 0, so they are clipped: differences
        # of -inf would be NaN. In this order, because TensorFlow rewrites `(x - max) + 1` as
        # `x - (max - 1)`, which loses the 1 for large logits.
        r = at_least(z, -1.0) + 1.0
        support = cast(among_few(fixed(r), power), x.dtype)
        inside = r * support
        step = _step(inside, total(support), power)
    else:
        base = threshold(fixed(z), power)
        inside = relu(z - base)
        support = sign(fixed(inside))
        step = _step(inside, total(support), power)
        # Rounding must not make the step negative, or classes outside the support would get a
        # positive probability. Its derivative stays as it is.
        step = step + fixed(relu(-step))
    p = relu(inside - step)
    return (p if power == 1 else p * p), z, base + step


def _step(inside: Any, count: Any, power: int) -> Any:
    """Return the `t` with `sum (inside - t)^q = 1` over the support."""
    sum_of = total(inside)
    if power == 1:
        return (sum_of - 1.0) / count
    excess = total(inside * inside) - 1.0
    # The smaller root, written without a difference of nearly equal numbers.
    return excess / (sum_of + ops.sqrt(sum_of * sum_of - count * excess))
