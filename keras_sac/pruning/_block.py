"""Weights that are pruned in blocks of neighbours."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import integer
from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern


@keras.saving.register_keras_serializable(package="keras_sac")
class Block(Pattern):
    """Blocks of neighbours, by the mean or the largest of their scores.

    Blocks are counted from the first row and column. Those at the far end may be smaller where the
    kernel is no multiple of the block; their mean is over what they have.

    Args:
        size: extent of a block along each axis of the kernel, so `(rows, columns)` for a `Dense`
            kernel of shape `(inputs, units)`.
        pooling: `"AVG"` or `"MAX"`.

    Raises:
        ValueError: if an extent is below 1 or the pooling unknown; when the optimizer is built, if
            a kernel has not as many axes as the block.

    Examples:
        >>> Block((4, 1), pooling="MAX").get_config()
        {'size': (4, 1), 'pooling': 'MAX'}
    """

    def __init__(self, size: tuple[int, ...], pooling: str = "AVG"):
        if not isinstance(size, list | tuple) or not size:
            raise ValueError(
                f"A block needs one extent for each axis, such as (4, 1). Received: size={size!r}"
            )
        if pooling not in ("AVG", "MAX"):
            raise ValueError(f'`pooling` must be "AVG" or "MAX". Received: pooling={pooling!r}')
        self.size = tuple(integer("size", extent, 1) for extent in size)
        self.pooling = pooling

    def check(self, kernel: Kernel) -> None:
        """Raise `ValueError` if the kernel has another number of axes than the block."""
        if len(kernel.shape) != len(self.size):
            raise ValueError(
                f"A block of {len(self.size)} axes {self.size} does not fit the kernel "
                f"{kernel.path!r} of shape {kernel.shape}, which has {len(kernel.shape)}. Give one "
                "extent for each axis, or narrow `targets=` to the kernels that it fits."
            )

    def group_size(self, kernel: Kernel) -> int | np.ndarray:
        """Return the number of weights of a block, or of each where those at the end are cut."""
        sizes = np.ones((), "int32")
        for extent, block in zip(kernel.shape, self.size, strict=True):
            members = [min(block, extent - start) for start in range(0, extent, block)]
            sizes = np.multiply.outer(sizes, np.array(members, "int32"))
        return int(sizes.flat[0]) if (sizes == sizes.flat[0]).all() else sizes

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the mean or the largest score of each block."""
        scores = ops.maximum(scores, 0)
        reduce = ops.max if self.pooling == "MAX" else ops.sum
        for axis, (extent, block) in enumerate(zip(kernel.shape, self.size, strict=True)):
            if block == 1:
                continue
            blocks = -(-extent // block)
            padding = [(0, 0)] * len(kernel.shape)
            padding[axis] = (0, blocks * block - extent)
            scores = ops.pad(scores, padding)
            shape = tuple(int(e) for e in scores.shape)
            grouped = (*shape[:axis], blocks, block, *shape[axis + 1 :])
            scores = reduce(ops.reshape(scores, grouped), axis=axis + 1)
            if self.pooling == "AVG":
                scores = scores / self._members(axis, extent, block, blocks, len(shape), scores)
        return scores

    def _members(
        self, axis: int, extent: int, block: int, blocks: int, rank: int, like: Any
    ) -> Any:
        if blocks * block == extent:
            return block
        members = [block] * (blocks - 1) + [extent - block * (blocks - 1)]
        shape = [1] * rank
        shape[axis] = blocks
        return ops.reshape(ops.convert_to_tensor(members, dtype=like.dtype), shape)

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision about each block, for each of its weights."""
        for axis, block in enumerate(self.size):
            if block > 1:
                keep = ops.repeat(keep, block, axis=axis)
        return keep[tuple(slice(0, extent) for extent in kernel.shape)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"size": self.size, "pooling": self.pooling}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Block":
        """Make a block pattern from what `get_config` returned."""
        return cls(tuple(config["size"]), config["pooling"])
