"""Optimal brain surgeon: second order, with the correlations between the weights of a block."""

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
    """Optimal brain surgeon: second order, and the weights that stay make up for those that go.

    `score_q = w_q^2 / (2 [H^-1]_qq)`; where the set Q goes, `w <- w - H^-1_{:,Q} (H^-1_QQ)^-1 w_Q`

    The Hessian is the empirical Fisher matrix, an average of `g g^T` over the steps plus
    `damping` times the mean of its diagonal, taken in blocks of `block_size` consecutive weights
    along the input axis of the flattened kernel. A kernel of no more weights than that has the
    whole matrix. A kernel of `n` weights needs `n * block_size` floats and as many products a step,
    so it is for small layers; a kernel that would need more than `max_floats` is an error.

    Args:
        block_size: weights that know of each other, at least 1.
        momentum: of the average, in [0, 1).
        damping: share of the mean diagonal added to the diagonal, above 0.
        max_floats: the most that is remembered of one kernel.

    Raises:
        ValueError: if an argument is out of range, or a kernel is too large.

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
        damping: float = 1e-3,
        max_floats: int = 2**26,
    ):
        self.block_size = integer("block_size", block_size, 1)
        self.momentum = fraction("momentum", momentum)
        if not isinstance(damping, numbers.Real) or not 0.0 < damping < math.inf:
            raise ValueError(f"`damping` must be a number above 0. Received: damping={damping!r}")
        self.damping = damping
        self.max_floats = integer("max_floats", max_floats, 1)

    def slot_shape(self, slot: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `(blocks, block, block)`."""
        blocks, block = self._blocks(shape)
        if blocks * block * block > self.max_floats:
            raise ValueError(
                f"OBS would remember {blocks * block * block:,} floats of a kernel of shape "
                f"{shape}, more than max_floats={self.max_floats:,}. Make `block_size` smaller "
                f"than {self.block_size}, leave the kernel out by `targets=`, or raise "
                "`max_floats`."
            )
        return blocks, block, block

    def observe(self, weight: Any, gradient: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Return the average with `g g^T` of each block taken in."""
        old = state["fisher"]
        rows = ops.cast(self._split(gradient), old.dtype)
        outer = ops.expand_dims(rows, 2) * ops.expand_dims(rows, 1)
        return {"fisher": self.momentum * old + (1.0 - self.momentum) * outer}

    def scores(self, weight: Any, state: dict[str, Any]) -> Any:
        """Return `w^2 / (2 [H^-1]_qq)`."""
        diagonal = ops.diagonal(self._inverse(state["fisher"]), axis1=1, axis2=2)
        rows = ops.cast(self._split(weight), diagonal.dtype)
        return self._join(0.5 * ops.square(rows) / diagonal, weight)

    def correct(self, weight: Any, mask: Any, state: dict[str, Any]) -> Any:
        """Return the weights that stay, moved to where the quadratic model is least."""
        inverse = self._inverse(state["fisher"])
        # What is NaN goes; its neighbours do not follow it.
        sound = ops.where(ops.isnan(weight), ops.zeros_like(weight), weight)
        rows = ops.expand_dims(ops.cast(self._split(sound), inverse.dtype), 2)
        gone = ops.expand_dims(1.0 - self._split(ops.cast(mask, inverse.dtype)), 2)
        # Rows and columns of what stays become those of the identity: one shape for every Q.
        identity = ops.eye(self._blocks(weight.shape)[1], dtype=inverse.dtype)
        within = gone * inverse * ops.transpose(gone, (0, 2, 1)) + (1.0 - gone) * identity
        multipliers = gone * ops.matmul(_backend.inverse(within), gone * rows)
        moved = rows - ops.matmul(inverse, multipliers)
        moved = (1.0 - gone) * moved
        return ops.cast(self._join(ops.squeeze(moved, 2), weight), weight.dtype)

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
        # Weights into the same output are neighbours once the output axis comes first.
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
        # Scaled before it is inverted: squares of small gradients would leave the range of float32.
        block = int(fisher.shape[-1])
        level = ops.mean(ops.diagonal(fisher, axis1=1, axis2=2), axis=1, keepdims=True)
        # A block that has seen (almost) no gradient matters less than the others, not more.
        level = ops.maximum(level, 1e-6 * ops.mean(level))
        level = ops.where(ops.greater(level, 1e-37), level, ops.ones_like(level))
        level = ops.expand_dims(level, 2)
        damped = fisher / level + self.damping * ops.eye(block, dtype=fisher.dtype)
        return _backend.inverse(damped) / level
