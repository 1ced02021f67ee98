"""N:M structured sparsity, such as 2:4."""

from typing import Any

import keras
from keras import ops

from keras_sac._arguments import integer
from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern


@keras.saving.register_keras_serializable(package="keras_sac")
class NM(Pattern):
    """N:M structured sparsity: `n_zeros` of each `m` weights along the input channels are pruned.

    `NM(m=4, n_zeros=2)` is 2:4 sparsity, which sparse tensor cores can use. The sparsity is
    `n_zeros / m` from the first refresh on; the sparsity of the schedule has no effect, only its
    steps. If the number of input channels is not a multiple of `m`, the last group is padded with
    zeros, which are pruned first. Of weights with equal scores, the first one is kept.

    Args:
        m: number of weights in a group, at most 64.
        n_zeros: number of pruned weights in a group, from 1 to `m - 1`.

    Raises:
        ValueError: if `m` or `n_zeros` is out of range.

    Examples:
        >>> NM(m=4, n_zeros=2).fixed_sparsity
        0.5

    Reference:
        Mishra et al., "Accelerating sparse deep neural networks", 2021,
        https://arxiv.org/abs/2104.08378
    """

    def __init__(self, *, m: int, n_zeros: int):
        m, n_zeros = integer("m", m, 1), integer("n_zeros", n_zeros, 1)
        if not 1 <= n_zeros < m <= 64:
            raise ValueError(
                "`n_zeros` and `m` must be integers with 1 <= n_zeros < m <= 64. Received: "
                f"m={m}, n_zeros={n_zeros}. `NM(m=4, n_zeros=2)` prunes 2 of each 4 weights."
            )
        self.m = m
        self.n_zeros = n_zeros
        self.fixed_sparsity = n_zeros / m

    def group_size(self, kernel: Kernel) -> int:
        """Return 1: `pool` decides about each weight."""
        return 1

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the scores of the kept weights, and -1 for the pruned ones."""
        axis, inputs = kernel.input_axis, kernel.shape[kernel.input_axis]
        groups = -(-inputs // self.m)
        padding = [(0, 0)] * len(kernel.shape)
        padding[axis] = (0, groups * self.m - inputs)
        padded = ops.pad(scores, padding, constant_values=0)
        shape = tuple(int(e) for e in padded.shape)
        grouped = ops.reshape(padded, (*shape[:axis], groups, self.m, *shape[axis + 1 :]))
        position = ops.reshape(ops.arange(self.m), (self.m, *[1] * (len(shape) - axis - 1)))
        # The rank of each weight in its group. One pass for each member is cheaper than a sort.
        rank = ops.zeros(grouped.shape, dtype="int32")
        for member in range(self.m):
            other = ops.take(grouped, [member], axis=axis + 1)
            ahead = ops.logical_or(
                ops.greater(other, grouped),
                ops.logical_and(ops.equal(other, grouped), ops.greater(position, member)),
            )
            rank = rank + ops.cast(ahead, "int32")
        keep = ops.reshape(ops.less(rank, self.m - self.n_zeros), shape)
        keep = keep[tuple(slice(0, extent) for extent in kernel.shape)]
        return ops.where(keep, scores, -ops.ones_like(scores))

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return `keep` unchanged."""
        return keep

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"m": self.m, "n_zeros": self.n_zeros}
