"""Optimal brain surgeon: prune by second-order saliency and correct the weights that are kept."""

import math
import numbers
from typing import Any

import keras
from keras import ops

from keras_sac import _backend
from keras_sac._arguments import fraction, integer
from keras_sac.pruning._criteria import Criterion


@keras.saving.register_keras_serializable(package="keras_sac")
class OBS(Criterion):
    """Optimal brain surgeon: second-order scores, and a correction of the kept weights.

    `score_q = w_q^2 / (2 [H^-1]_qq)`; after pruning a set Q, `w <- w - H^-1_{:,Q} (H^-1_QQ)^-1 w_Q`

    `H = F + damping (diag(F) + mean(diag(F)) I)`, where `F` is the empirical Fisher matrix: the
    average of `g g^T` over the steps. The matrix is block-diagonal. A block holds `block_size`
    consecutive weights along the input axis of the flattened kernel; a kernel with at most
    `block_size` weights has the full matrix. A kernel with `n` weights needs `n * block_size`
    floats and as many products in each step, so this criterion is for small layers. They are
    float64 where the backend has it (not on JAX by default): the inverse of a matrix in float32
    magnifies rounding errors, and other weights would be pruned on another machine.

    Args:
        block_size: number of weights in a block, at least 1.
        momentum: momentum of the average, in [0, 1).
        damping: positive float, added to the diagonal relative to its entries and to their mean.
        max_floats: largest number of floats to store for one kernel.

    Raises:
        ValueError: if an argument is out of range; when the optimizer is built, if a kernel needs
            more than `max_floats`.

    Examples:
        >>> criterion = OBS(block_size=2, momentum=0.0, damping=1e-6)
        >>> w, g = ops.convert_to_tensor([1.0, 1.0]), ops.convert_to_tensor([1.0, 1.0])
        >>> state = criterion.observe(w, g, {"fisher": ops.zeros((1, 2, 2))})
        >>> keep = ops.convert_to_tensor([True, False])
        >>> [round(float(x), 3) for x in criterion.correct(w, keep, state)]
        [2.0, 0.0]

    Reference:
        Hassibi, Stork and Wolff, "Optimal brain surgeon", 1993; Singh and Alistarh, "WoodFisher",
        2020, https://arxiv.org/abs/2004.14340
    """

    slots = ("fisher",)
    corrects = True

    def __init__(
        self,
        block_size: int = 64,
        momentum: float = 0.99,
        damping: float = 1e-2,
        max_floats: int = 2**26,
    ):
        self.block_size = integer("block_size", block_size, 1)
        self.momentum = fraction("momentum", momentum)
        if not isinstance(damping, numbers.Real) or not 0.0 < damping < math.inf:
            raise ValueError(f"`damping` must be a number above 0. Received: damping={damping!r}")
        self.damping = damping
        self.max_floats = integer("max_floats", max_floats, 1)

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `(n_blocks, block_size, block_size)`."""
        blocks, block = self._blocks(shape)
        if blocks * block * block > self.max_floats:
            raise ValueError(
                f"`OBS` needs {blocks * block * block:,} floats for a kernel of shape {shape}, "
                f"more than max_floats={self.max_floats:,}. Received: "
                f"block_size={self.block_size}. Use a smaller `block_size`, exclude the kernel "
                "by `targets=`, or raise `max_floats`."
            )
        return blocks, block, block

    def slot_dtype(self, slot: str, dtype: str) -> str:
        """Return the widest float type of the backend."""
        return _backend.widest_float()

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Add `g g^T` of each block to the average."""
        old = state["fisher"]
        rows = ops.cast(self._split(gradient), old.dtype)
        outer = ops.expand_dims(rows, 2) * ops.expand_dims(rows, 1)
        return {"fisher": self.momentum * old + (1.0 - self.momentum) * outer}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return `w^2 / (2 [H^-1]_qq)`."""
        diagonal = ops.diagonal(self._inverse(state["fisher"]), axis1=1, axis2=2)
        rows = ops.cast(self._split(weight), diagonal.dtype)
        return ops.cast(self._join(0.5 * ops.square(rows) / diagonal, weight), weight.dtype)

    def correct(self, weight: Any, mask: Any, state: dict[str, Any]) -> Any:
        """Return the kept weights at the minimum of the quadratic model, and zero elsewhere."""
        inverse = self._inverse(state["fisher"])
        # NaN weights are treated as zero, so they do not affect the rest of the block.
        without_nan = ops.where(ops.isnan(weight), ops.zeros_like(weight), weight)
        rows = ops.cast(self._split(without_nan), inverse.dtype)
        pruned = 1.0 - self._split(ops.cast(mask, inverse.dtype))
        # Rows and columns of kept weights become those of the identity, so that the shape does not
        # depend on Q.
        identity = ops.eye(self._blocks(weight.shape)[1], dtype=inverse.dtype)
        both = ops.expand_dims(pruned, 2) * ops.expand_dims(pruned, 1)
        within = both * inverse + (1.0 - ops.expand_dims(pruned, 2)) * identity
        multipliers = pruned * _product(_backend.inverse(within), pruned * rows)
        corrected = (1.0 - pruned) * (rows - _product(inverse, multipliers))
        return ops.cast(self._join(corrected, weight), weight.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "block_size": self.block_size,
            "momentum": self.momentum,
            "damping": self.damping,
            "max_floats": self.max_floats,
        }

    def _blocks(self, shape: Any) -> tuple[int, int]:
        size = 1
        for extent in shape:
            size *= int(extent)
        block = min(self.block_size, size)
        return -(-size // block), block

    def _split(self, tensor: Any) -> Any:
        blocks, block = self._blocks(tensor.shape)
        # With the output axis first, weights into the same output are neighbours.
        axes = (len(tensor.shape) - 1, *range(len(tensor.shape) - 1))
        flat = ops.reshape(ops.transpose(tensor, axes), (-1,))
        return ops.reshape(ops.pad(flat, (0, blocks * block - int(flat.shape[0]))), (blocks, block))

    def _join(self, rows: Any, like: Any) -> Any:
        shape = tuple(int(extent) for extent in like.shape)
        size = 1
        for extent in shape:
            size *= extent
        flat = ops.reshape(ops.reshape(rows, (-1,))[:size], (shape[-1], *shape[:-1]))
        return ops.transpose(flat, (*range(1, len(shape)), 0))

    def _inverse(self, fisher: Any) -> Any:
        fisher = ops.cast(fisher, _backend.widest_float())
        diagonal = ops.diagonal(fisher, axis1=1, axis2=2)
        mean = ops.mean(diagonal, axis=1, keepdims=True)
        # A block with almost no gradient must have small scores. Its own mean would enlarge them.
        mean = ops.maximum(mean, 1e-6 * ops.mean(mean))
        mean = ops.where(ops.greater(mean, 1e-37), mean, ops.ones_like(mean))
        # With a unit diagonal, no product leaves the range of float32, and rounding errors depend
        # on the correlations only.
        scale = ops.sqrt(diagonal + self.damping * (diagonal + mean))
        scales = ops.expand_dims(scale, 2) * ops.expand_dims(scale, 1)
        identity = ops.eye(int(fisher.shape[-1]), dtype=fisher.dtype)
        unit = ops.where(ops.greater(identity, 0), identity, fisher / scales)
        return _backend.inverse(unit) / scales


def _product(matrices: Any, rows: Any) -> Any:
    # Not `matmul`, which accelerators compute in TF32 by default, to three digits.
    return ops.sum(matrices * ops.expand_dims(rows, 1), axis=2)
