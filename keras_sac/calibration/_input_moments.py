"""Moments of rows: of all features, or of random combinations of the rows where these are wide."""

import copy
import functools

import numpy as np
from scipy import linalg

from keras_sac.bases import Moments


class RowSketch:
    """Mean of rows, and random combinations of them with the same scatter on average.

    `F = Σ s (x - m)ᵀ`, where `s` has one entry, of random sign, at a random place of `size`. So
    `E[Fᵀ F] = Σ (x - m)(x - m)ᵀ`, in memory `size x features` instead of `features^2`, and a row
    costs one addition of it. Batches are centered and merged as in `Moments`.

    Args:
        size: number of combinations.

    Reference:
        Clarkson & Woodruff, 2009, "Numerical Linear Algebra in the Streaming Model".
    """

    def __init__(self, size: int):
        self._random = np.random.default_rng(0)
        self._size = size
        self.count = 0
        self.mean = np.zeros(0)
        self.factor = np.zeros((0, 0))

    @classmethod
    def from_parts(cls, count: int, mean: np.ndarray, factor: np.ndarray) -> "RowSketch":
        """Return the sketch with these attributes."""
        self = cls(len(factor))
        self.count, self.mean, self.factor = count, np.array(mean), np.array(factor)
        return self

    def update(self, rows: np.ndarray) -> "RowSketch":
        """Add a batch of shape `(rows, features)`."""
        mean = rows.mean(axis=0, dtype=np.float64)
        if not self.count:
            self.mean, self.factor = mean.copy(), np.zeros((self._size, rows.shape[1]))
        count = self.count + len(rows)
        self._add(rows - mean)
        difference = mean - self.mean
        self._add(np.sqrt(self.count * len(rows) / count) * difference[None])
        self.mean += difference * (len(rows) / count)
        self.count = count
        return self

    def _add(self, rows: np.ndarray) -> None:
        places = self._random.integers(0, self._size, len(rows))
        signs = self._random.integers(0, 2, len(rows)) * 2.0 - 1.0
        np.add.at(self.factor, places, signs[:, None] * rows)


class Scatter:
    """The centered second moment `C = Σ (x - m)(x - m)ᵀ / n` of rows, and products with it.

    Args:
        source: what has seen the rows.
        columns: the features that are meant, a slice; defaults to all.
        centered: whether the mean is subtracted. If not, `mean` is zero.
    """

    def __init__(
        self,
        source: Moments | RowSketch,
        columns: slice = slice(None),
        *,
        centered: bool = True,
    ):
        self.count, mean = source.count, source.mean
        self.mean = mean[columns] if centered else np.zeros_like(mean[columns])
        self.added = 0.0  # to the diagonal
        self._columns = columns
        self._factor = None
        self._whole = np.zeros((0, 0))
        if isinstance(source, RowSketch):
            self._factor = source.factor / np.sqrt(source.count)
            if not centered:
                self._factor = np.concatenate([self._factor, mean[None]])
        else:
            self._whole = source.scatter / source.count
            if not centered:
                self._whole += np.outer(mean, mean)

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.mean)

    def ridge(self) -> float:
        """Return what `regularized` adds to the diagonal: `max(1e-3, 0.2 d / n)` of its mean."""
        # Without any variance every solution is as good; 1 keeps it where it is.
        return max(1e-3, 0.2 * self.width / self._rows) * float(self.diagonal().mean()) or 1.0

    def regularized(self) -> "Scatter":
        """Return `C + ridge I`."""
        new = copy.copy(self)
        vars(new).pop("matrix", None)  # of the old diagonal
        new.added = self.ridge()
        return new

    def times(self, vectors: np.ndarray) -> np.ndarray:
        """Return `C @ vectors`, of shape `(width, n)`."""
        if self._factor is None:
            return self.matrix @ vectors
        factor = self._factor[:, self._columns]
        return factor.T @ (factor @ vectors) + self.added * vectors

    @property
    def is_sketched(self) -> bool:
        """Whether `C` is that of random combinations of the rows; its matrix may not fit memory."""
        return self._factor is not None

    def diagonal(self) -> np.ndarray:
        """Return the diagonal of `C`."""
        if self._factor is None:
            return np.diag(self._whole)[self._columns] + self.added
        return np.square(self._factor[:, self._columns]).sum(axis=0) + self.added

    def projected(self, order: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Return `C` of what one basis makes of each block of the features.

        Args:
            order: the features, block by block.
            basis: shape `(size of a block, rank)`, orthonormal columns.

        Returns:
            Shape `(rank * blocks, rank * blocks)`, ordered by column of the basis, then block.
        """
        size, rank = basis.shape
        blocks = len(order) // size
        if self._factor is not None:
            rows = self._factor[:, self._columns][:, order].reshape(-1, size) @ basis
            rows = np.swapaxes(rows.reshape(-1, blocks, rank), 1, 2).reshape(-1, rank * blocks)
            return rows.T @ rows + self.added * np.eye(rank * blocks)
        grid = self.matrix[np.ix_(order, order)].reshape(-1, size) @ basis
        grid = np.tensordot(basis, grid.reshape(blocks, size, blocks, rank), axes=(0, 1))
        return np.swapaxes(grid, 2, 3).reshape(rank * blocks, rank * blocks)

    def mean_block(self, order: np.ndarray, size: int) -> np.ndarray:
        """Return the mean of the diagonal blocks of `C`, its features in another order."""
        if self._factor is None:
            blocks = order.reshape(-1, size)
            return np.mean([self.matrix[np.ix_(block, block)] for block in blocks], axis=0)
        rows = self._factor[:, self._columns][:, order].reshape(-1, size)
        blocks = len(order) // size
        return rows.T @ rows / blocks + self.added * np.eye(size)

    def solve(self, targets: np.ndarray) -> np.ndarray:
        """Return `C^-1 targets` for a regularized `C`."""
        if self._factor is None:
            return _solve(self.matrix, targets)
        # Woodbury: a system of the size of the sketch.
        factor = self._factor[:, self._columns]
        inner = self.added * np.eye(len(factor)) + factor @ factor.T
        return (targets - factor.T @ _solve(inner, factor @ targets)) / self.added

    def inverse_diagonal(self) -> np.ndarray:
        """Return the diagonal of `C^-1` for a regularized `C`."""
        if self._factor is None:
            return np.diag(_solve(self.matrix, np.eye(self.width)))
        factor = self._factor[:, self._columns]
        inner = self.added * np.eye(len(factor)) + factor @ factor.T
        return (1.0 - np.sum(factor * _solve(inner, factor), axis=0)) / self.added

    @functools.cached_property
    def matrix(self) -> np.ndarray:
        """The matrix `C`, shape `(width, width)`, float64."""
        factor = None if self._factor is None else self._factor[:, self._columns]
        matrix = self._whole[self._columns, self._columns] if factor is None else factor.T @ factor
        return matrix + self.added * np.eye(self.width) if self.added else matrix

    def with_columns(self, columns: slice) -> np.ndarray:
        """Return the block of `C` with these rows and the columns of another slice."""
        if self._factor is None:
            return self._whole[self._columns, columns]
        return self._factor[:, self._columns].T @ self._factor[:, columns]

    @property
    def _rows(self) -> int:
        """Number of rows that stand behind the matrix."""
        return self.count if self._factor is None else min(self.count, len(self._factor))


def _solve(matrix: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve a positive definite system; a third faster than `scipy.linalg.solve`."""
    return linalg.cho_solve(linalg.cho_factor(matrix, lower=True), targets)
