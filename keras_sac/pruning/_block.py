"""Block sparsity: prune rectangular blocks of neighbouring weights."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import integer
from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern


@keras.saving.register_keras_serializable(package="keras_sac")
class Block(Pattern):
    """Block sparsity: prune or keep blocks of neighbouring weights as a whole.

    The score of a block is the mean or the maximum of the scores of its weights. Blocks start at
    the first row and column. If the shape of the kernel is not a multiple of the block size, the
    last blocks are smaller, and their mean is over the weights that they have.

    Args:
        size: extent of a block along each axis of the kernel; `(rows, columns)` for a `Dense`
            kernel of shape `(inputs, units)`.
        pooling: `"AVG"` for the mean or `"MAX"` for the maximum.

    Raises:
        ValueError: if an extent is below 1 or `pooling` is unknown; when the optimizer is built, if
            a kernel and the block have different numbers of axes.

    Examples:
        >>> Block((4, 1), pooling="MAX").get_config()
        {'size': (4, 1), 'pooling': 'MAX'}
    """

    def __init__(self, size: tuple[int, ...], pooling: str = "AVG"):
        if not isinstance(size, list | tuple) or not size:
            raise ValueError(
                "`size` must be a tuple with one extent for each axis of the kernel, such as "
                f"(4, 1). Received: size={size!r}"
            )
        if pooling not in ("AVG", "MAX"):
            raise ValueError(f'`pooling` must be "AVG" or "MAX". Received: pooling={pooling!r}')
        self.size = tuple(integer("size", extent, 1) for extent in size)
        self.pooling = pooling

    def check(self, kernel: Kernel) -> None:
        """Raise `ValueError` if the kernel and the block have different numbers of axes."""
        if len(kernel.shape) != len(self.size):
            raise ValueError(
                "`size` of `Block` must have one extent for each axis of the kernel. Received: "
                f"size={self.size}, which does not fit the kernel {kernel.path!r} of shape "
                f"{kernel.shape}. Pass {len(kernel.shape)} extents, or use `targets=` to select "
                "the kernels that the block fits."
            )

    def group_size(self, kernel: Kernel) -> int | np.ndarray:
        """Return the number of weights in a block, as an array if the last blocks are smaller."""
        sizes = np.ones((), "int32")
        for extent, block in zip(kernel.shape, self.size, strict=True):
            lengths = [min(block, extent - start) for start in range(0, extent, block)]
            sizes = np.multiply.outer(sizes, np.array(lengths, "int32"))
        return int(sizes.flat[0]) if (sizes == sizes.flat[0]).all() else sizes

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the mean or the maximum of the scores in each block."""
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
                scores = scores / self._block_lengths(axis, extent, block, len(shape), scores)
        return scores

    def _block_lengths(self, axis: int, extent: int, block: int, rank: int, scores: Any) -> Any:
        """Return the lengths of the blocks along an axis, as a number if all are equal."""
        if extent % block == 0:
            return block
        lengths = [min(block, extent - start) for start in range(0, extent, block)]
        shape = [1] * rank
        shape[axis] = len(lengths)
        return ops.reshape(ops.convert_to_tensor(lengths, dtype=scores.dtype), shape)

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision for each weight, that of its block."""
        for axis, block in enumerate(self.size):
            if block > 1:
                keep = ops.repeat(keep, block, axis=axis)
        return keep[tuple(slice(0, extent) for extent in kernel.shape)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"size": self.size, "pooling": self.pooling}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Block":
        """Create a block pattern from the result of `get_config`."""
        return cls(tuple(config["size"]), config["pooling"])
