"""Batches whose order depends only on the seed and the epoch, so all backends use the same one."""

import keras
import numpy as np


def sample_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of `0 .. samples - 1` for an epoch, counted from 0."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


class ShuffledBatches(keras.utils.PyDataset):
    """Batches in the order of `sample_order`. Pass `shuffle=False` to `fit` with them.

    Args:
        x: `(n, ...)` samples.
        y: `(n,)` labels.
        batch_size: samples per batch; the last batch of an epoch may be smaller.
        seed: of the run.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int):
        super().__init__()
        self._x, self._y, self._batch_size, self._seed = x, y, batch_size, seed
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Set the order for an epoch, counted from 0.

        This is not Keras' `on_epoch_begin`, which some backends call once too often.
        """
        self._order = sample_order(len(self._x), self._seed, epoch)

    def __len__(self) -> int:
        return -(-len(self._x) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._x[chosen], self._y[chosen]
