"""Prune in a custom training loop, with any optimizer."""

from typing import Any

import keras
import numpy as np

from keras_sac import pruning
from keras_sac.pruning import Masks, Unstructured, select_pruned
from keras_sac.tfmot._marked_target import targets_of


class Loop:
    """The masks of a model in a custom loop, refreshed before each batch.

    Args:
        model: a model with marked layers.

    Attributes:
        step: number of batches that have begun.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._masks: Masks | None = None
        self.step = 0

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Boolean masks, by the paths of the variables."""
        kernels = [] if self._masks is None else self._masks.kernels
        return {k.kernel.path: keras.ops.convert_to_numpy(k.mask) for k in kernels}

    def begin_batch(self) -> None:
        """Refresh the masks that are due for the next batch, and apply them."""
        self.step += 1
        if self._masks is None and self._model.built:
            self._masks = self._new_masks()
            self._masks.begin()
        if self._masks is not None:
            self._masks.refresh(self.step)

    def apply(self) -> None:
        """Apply the masks: set the pruned weights to zero."""
        if self._masks is not None:
            self._masks.apply()

    def _new_masks(self) -> Masks:
        targets = tuple(targets_of(self._model))
        if not targets:
            return Masks([], pruning.Magnitude(), "uniform", _zeros)
        kernels, _ = select_pruned(self._model.trainable_variables, targets, None, Unstructured())
        return Masks(kernels, pruning.Magnitude(), "uniform", _zeros)


def _zeros(
    name: str, reference: keras.Variable, shape: tuple[int, ...], dtype: str
) -> keras.Variable:
    path = reference.path.replace("/", "_")
    initial: Any = np.zeros(shape, dtype)
    return keras.Variable(initial, dtype=dtype, trainable=False, name=f"{path}_{name}")
