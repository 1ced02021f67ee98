"""Batches in an order that the seed and the epoch decide, the same on every backend."""

import keras
import numpy as np


def order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the samples in an epoch.

    Args:
        samples: How many there are.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        A permutation of `0 .. samples - 1`.
    """
    return np.random.default_rng([seed, epoch]).permutation(samples)


class Shuffled(keras.utils.PyDataset):
    """Batches in the order of `order`; pass `shuffle=False` to `fit`, or Keras reorders them.

    Args:
        x: `(n, ...)` samples.
        y: `(n,)` labels.
        batch_size: Samples in a batch; the last of an epoch may have fewer.
        seed: Of the run.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, batch_size: int, seed: int):
        super().__init__()
        self._x, self._y, self._batch_size, self._seed = x, y, batch_size, seed
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch, counted from 0.

        Keras' own hook of that name is called once more before the first epoch, on some backends.
        """
        self._order = order(len(self._x), self._seed, epoch)

    def __len__(self) -> int:
        return -(-len(self._x) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._x[chosen], self._y[chosen]
