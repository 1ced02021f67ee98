"""So many zeros in each few weights: 2:4 and the like."""

from typing import Any

import keras
from keras import ops

from keras_sac._arguments import integer
from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern


@keras.saving.register_keras_serializable(package="keras_sac")
class NM(Pattern):
    """`n_zero` zeros in each `m` consecutive weights along the input channels, such as 2:4.

    The sparsity is `n_zero / m` from the first refresh on; of the schedule only the steps count.
    Where the number of inputs is no multiple of `m`, the last group is filled up with zeros, and
    it is they that go first. Of equal scores the first stays.

    Args:
        n_zero: zeros in a group, at least 1 and below `m`.
        m: weights in a group, at most 64.

    Raises:
        ValueError: if `n_zero` or `m` is out of range.

    Examples:
        >>> NM(2, 4).fixed_sparsity
        0.5

    Reference:
        Mishra et al., "Accelerating sparse deep neural networks", 2021,
        https://arxiv.org/abs/2104.08378
    """

    def __init__(self, n_zero: int, m: int):
        n_zero, m = integer("n_zero", n_zero, 1), integer("m", m, 1)
        if not 1 <= n_zero < m <= 64:
            raise ValueError(
                "`NM(n_zero, m)` needs 1 <= n_zero < m <= 64: so many zeros in each m weights. "
                f"Received: n_zero={n_zero}, m={m}"
            )
        self.n_zero = n_zero
        self.m = m
        self.fixed_sparsity = self.n_zero / self.m

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
        keep = ops.reshape(ops.less(place, self.m - self.n_zero), shape)
        keep = keep[tuple(slice(0, extent) for extent in kernel.shape)]
        return ops.where(keep, scores, -ops.ones_like(scores))

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision as it is."""
        return keep

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"n_zero": self.n_zero, "m": self.m}
