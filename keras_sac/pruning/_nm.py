"""N:M structured sparsity, such as 2:4."""

from typing import Any

import keras
from keras import ops

from keras_sac._arguments import integer
from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern


@keras.saving.register_keras_serializable(package="keras_sac")
class NM(Pattern):
    """`n_zeros` zeros in each `m` consecutive weights along the input channels, such as 2:4.

    The sparsity is `n_zeros / m` from the first refresh on; of the schedule only the steps count.
    Where the number of inputs is no multiple of `m`, the last group is filled up with zeros, and
    it is they that go first. Of equal scores the first stays.

    Args:
        m: weights in a group, at most 64.
        n_zeros: zeros in a group, at least 1 and below `m`.

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
                "`NM(m=..., n_zeros=...)` needs 1 <= n_zeros < m <= 64: `n_zeros` of each `m` "
                f"weights become zero. Received: m={m}, n_zeros={n_zeros}"
            )
        self.m = m
        self.n_zeros = n_zeros
        self.fixed_sparsity = n_zeros / m

    def group_size(self, kernel: Kernel) -> int:
        """Return 1: each weight is decided on by itself, among its group."""
        return 1

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the scores of what stays, and -1 for what goes."""
        axis, inputs = kernel.input_axis, kernel.shape[kernel.input_axis]
        groups = -(-inputs // self.m)
        padding = [(0, 0)] * len(kernel.shape)
        padding[axis] = (0, groups * self.m - inputs)
        padded = ops.pad(scores, padding, constant_values=0)
        shape = tuple(int(e) for e in padded.shape)
        grouped = ops.reshape(padded, (*shape[:axis], groups, self.m, *shape[axis + 1 :]))
        position = ops.reshape(ops.arange(self.m), (self.m, *[1] * (len(shape) - axis - 1)))
        # The place of a weight in its group: a pass for each member, cheaper than a sort.
        place = ops.zeros(grouped.shape, dtype="int32")
        for member in range(self.m):
            other = ops.take(grouped, [member], axis=axis + 1)
            ahead = ops.logical_or(
                ops.greater(other, grouped),
                ops.logical_and(ops.equal(other, grouped), ops.greater(position, member)),
            )
            place = place + ops.cast(ahead, "int32")
        keep = ops.reshape(ops.less(place, self.m - self.n_zeros), shape)
        keep = keep[tuple(slice(0, extent) for extent in kernel.shape)]
        return ops.where(keep, scores, -ops.ones_like(scores))

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision as it is."""
        return keep

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"m": self.m, "n_zeros": self.n_zeros}
