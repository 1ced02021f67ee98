"""From logits to sparse probabilities: an explicit formula on the support.

The search for the support is not differentiated. On it the probabilities are an explicit function
of the logits, whose derivative is the closed form of the papers; so every backend's own automatic
differentiation gives that, forwards, backwards, and as often as wanted.
"""

from typing import Any

import keras
from keras import ops

from keras_sac.heads._last_axis import at_least, cast, fixed, largest, relu, sign, total
from keras_sac.heads._loss_check import refuse_cross_entropy
from keras_sac.heads._support import among_few, are_few, threshold


def probabilities(x: Any, power: int, axis: int) -> Any:
    """Return the probabilities of a head.

    Args:
        x: float tensor.
        power: 1 for sparsemax, 2 for entmax 1.5.
        axis: of the classes, not negative.

    Returns:
        Of the shape and dtype of `x`.

    Raises:
        ValueError: if a model is trained by cross-entropy on them.
    """
    refuse_cross_entropy()
    return cast(project(x, power, axis)[0], x.dtype)


def project(x: Any, power: int, axis: int) -> tuple[Any, Any, Any]:
    """Return the probabilities, the logits on the scale that they are taken from, the threshold.

    `p_i = max(z_i - tau, 0)^q`,  `sum_i p_i = 1`,  with `z = (x - max x) / q`

    Args:
        x: float tensor.
        power: `q`: 1 for sparsemax, 2 for entmax 1.5.
        axis: of the classes, not negative.

    Returns:
        `p`, `z` and `tau` (of extent 1 along `axis`); float64 for float64 logits, else float32.
    """
    last = len(x.shape) - 1
    if keras.backend.standardize_dtype(x.dtype) not in ("float32", "float64"):
        x = ops.cast(x, "float32")
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
        # What is 1 below the largest is out, however far; and -inf has no differences. In this
        # order, since TensorFlow makes `x - (max - 1)` of `(x - max) + 1`.
        r = at_least(z, -1.0) + 1.0
        support = cast(among_few(fixed(r), power), x.dtype)
        inside = r * support
        step = _step(inside, total(support), power)
    else:
        base = threshold(fixed(z), power)
        inside = relu(z - base)
        support = sign(fixed(inside))
        step = _step(inside, total(support), power)
        # Rounding must not make it negative, or what is outside would come in. (In its derivative
        # it may be.)
        step = step + fixed(relu(-step))
    p = relu(inside - step)
    return (p if power == 1 else p * p), z, base + step


def _step(inside: Any, count: Any, power: int) -> Any:
    """Return the `t` with `sum (inside - t)^q = 1` over the support."""
    sum_of = total(inside)
    if power == 1:
        return (sum_of - 1.0) / count
    excess = total(inside * inside) - 1.0
    # The smaller root, without a difference of nearly equal numbers.
    return excess / (sum_of + ops.sqrt(sum_of * sum_of - count * excess))
