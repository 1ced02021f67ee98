"""Find the support of sparsemax and entmax 1.5, without a sort where a loop is cheaper.

Let `z` be the logits minus their maximum, and `q` 1 (sparsemax) or 2 (entmax 1.5). A class has a
positive probability where `z_i > tau`; `tau` is the root of `f(tau) = sum_j max(z_j - tau, 0)^q -
1`. `f` is convex and decreasing, so Newton steps from a `tau` below the root never pass the root.
`f` over some of the classes is below `f` over all, so the root over some classes is such a start.
"""

import math
from typing import Any

import keras
from keras import ops

from keras_sac._backend import is_exported_by_torch, reading_waits
from keras_sac.heads._last_axis import cast, largest, relu, row_sums, sign, total

# Up to this number of classes, and of pairs in all rows, all pairs are compared at once, which
# takes fewer operations than a search.
_FEW = 16
_PAIRS = 2**22
# From this number of classes on, most blocks of classes are ruled out by their maximum.
_MANY = 512
# Number of blocks that are searched first.
_SEARCHED = 16


def are_few(shape: tuple[int | None, ...]) -> bool:
    """Return whether all pairs of classes are compared, for logits with the classes last."""
    n = shape[-1]
    if n is None or n > _FEW:
        return False
    # An unknown or symbolic number of rows is a batch size, which is small.
    known = (extent for extent in shape[:-1] if isinstance(extent, int))
    return n * n * math.prod(known) <= _PAIRS


def among_few(r: Any, power: int) -> Any:
    """Mark the support by comparing all pairs: `sum_j max(r_j - r_i, 0)^q < 1`.

    Args:
        r: `(..., n)`, the logits up to a constant; each row finite, or all NaN.
        power: `q`.

    Returns:
        Boolean `(..., n)`. A row with NaN is marked throughout.
    """
    above = relu(r[..., None, :] - r[..., :, None])
    # Not `<`: NaN has to reach the probabilities.
    return ~(row_sums(above if power == 1 else above * above) >= 1.0)


def threshold(z: Any, power: int) -> Any:
    """Return a `tau` such that `z > tau` exactly in the support.

    Args:
        z: `(..., n)`, the logits minus their maximum; `-inf` is allowed.
        power: `q`.

    Returns:
        Tensor of shape `(..., 1)`; NaN where the row has a NaN.
    """
    n = z.shape[-1]
    if is_exported_by_torch() or reading_waits(z):
        return _by_sorting(z, power)
    if n is None or n < _MANY:
        return _newton(z, _below(z), power, True)
    leading = ops.shape(z)[:-1]
    tau = _by_blocks(ops.reshape(z, (-1, n)), power)
    return ops.reshape(tau, (*leading, 1))


def _by_sorting(z: Any, power: int) -> Any:
    """Find the threshold from the sorted logits, where torch should not loop.

    An exported torch graph cannot have a loop whose length depends on the data: tracing would fix
    the number of steps to that of one input. And on an accelerator eager torch would wait for each
    step of the loop, to learn whether it was the last.

    Args:
        z: `(..., n)`, as for `threshold`.
        power: `q`.
    """
    ordered = ops.flip(ops.sort(z, axis=-1), axis=-1)
    k = ops.cumsum(ops.ones_like(ordered), axis=-1)
    sum_of = ops.cumsum(ordered, axis=-1)
    if power == 1:
        roots = (sum_of - 1.0) / k
    else:
        mean = sum_of / k
        variance = ops.cumsum(ordered * ordered, axis=-1) / k - mean * mean
        roots = mean - ops.sqrt(relu(1.0 / k - variance))
    # `roots` at k is the root over the k largest classes; it counts while the k-th is above it.
    inside = ordered > roots
    last = total(cast(inside, z.dtype))
    return total(ops.where(k == last, roots, ops.zeros_like(roots)))


def _by_blocks(z: Any, power: int) -> Any:
    """Search the blocks with the largest maxima, then all classes unless the others are ruled out.

    Args:
        z: `(rows, n)`.
        power: `q`.
    """
    n = z.shape[-1]
    width = _block_width(n)
    count = n // width
    rows = ops.shape(z)[0]
    whole = z if n % width == 0 else z[:, : count * width]
    blocks = ops.reshape(whole, (-1, count, width))
    maxima, indices = ops.top_k(largest(blocks)[..., 0], _SEARCHED + 1)
    first = ops.expand_dims(ops.arange(rows, dtype="int32") * count, 1)
    chosen = ops.cast(indices[:, :_SEARCHED], "int32") + first
    searched = ops.take(ops.reshape(blocks, (-1, width)), ops.reshape(chosen, (-1,)), axis=0)
    searched = ops.reshape(searched, (-1, _SEARCHED * width))
    if n % width:
        searched = ops.concatenate([searched, z[:, count * width :]], axis=-1)
    tau = _newton(searched, _below(searched), power, True)
    return _newton(z, tau, power, ops.any(maxima[:, _SEARCHED:] > tau))


def _block_width(n: int) -> int:
    """Return the number of classes in a block: near `sqrt(n) / 2`, and at most 64.

    A width that divides `n` saves a copy.
    """
    aim = min(round(n**0.5 / 2), 64)
    near = sorted(range(aim // 2, 2 * aim + 1), key=lambda width: abs(width - aim))
    return next((width for width in near if n % width == 0), aim)


def _below(z: Any) -> Any:
    # The largest class has a probability of at most 1, so the threshold is at most 1 below it.
    return ops.zeros_like(z[..., :1]) - 1.0


def _newton(z: Any, tau: Any, power: int, is_open: Any) -> Any:
    """Return the root of `f` from a `tau` at or below it; `tau` itself if `is_open` is false."""
    if power == 1:
        # `f` is linear over the classes above `tau`: a step that drops no class was the last.
        def step(tau: Any, before: Any, is_open: Any) -> tuple[Any, Any, Any]:
            above = relu(z - tau)
            count = total(sign(above))
            sum_of = total(above)
            # The fewest classes so far, not those of the last step: with rounding two rows could
            # alternate for ever.
            fewest = ops.minimum(count, before)
            return tau + (sum_of - 1.0) / count, fewest, ops.any(count < before)
    else:
        # Only the search has a tolerance: on the support `tau` is solved for exactly.
        tolerance = 1e-6 if keras.backend.standardize_dtype(z.dtype) == "float32" else 1e-12

        def step(tau: Any, before: Any, is_open: Any) -> tuple[Any, Any, Any]:
            above = relu(z - tau)
            sum_of = total(above)
            excess = total(above * above) - 1.0
            move = excess / (2.0 * sum_of)
            return tau + move, before, ops.any(move > tolerance)

    # Comparisons with NaN are false, so the loop ends for any logits.
    start = (tau, ops.full_like(tau, float("inf")), ops.convert_to_tensor(is_open))
    return ops.while_loop(lambda tau, before, is_open: is_open, step, start)[0]
