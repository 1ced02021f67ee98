"""The closed form: basis and learner of every rank, and the error of each."""

from typing import Any

import numpy as np
from scipy import linalg

from keras_sac._model import KernelAxes
from keras_sac.calibration import LinearFit
from keras_sac.conversion._readings import Reading, block_order
from keras_sac.conversion._shared_basis import improved_basis

# Turns of basis and learner. The first does most; later ones hardly change the error.
_TURNS = 4


class LowRank:
    """Factors of a kernel in one reading: the leading columns of one basis, for each rank.

    The basis `V (rows, rank)` has orthonormal columns. For `"patches"` they span `W G^1/2 U`, with
    `U` the leading eigenvectors of `G^1/2 W^T C W G^1/2`: no other kernel of that rank has a
    smaller expected error in the metric `G`. In the other readings several blocks of the inputs
    share the basis. `V` is the solution as if the blocks were not correlated, and the learner the
    least squares on what the basis makes, `(Pᵀ C P)^-1 Pᵀ S_xy`, with `P` the basis for all blocks.
    The factors of a chosen rank are then improved in turns, basis and learner.

    Args:
        reading: of the kernel.
        axes: of the kernel.
        fit: regularized.
        metric: weights `G` of the errors, `(units, units)`; `None` for the identity.
        criterion: `"input"` takes the principal components of the inputs as basis.
        rank: the largest rank that is wanted; defaults to the full one.

    Attributes:
        losses: the expected squared error for the ranks 0, 1, ..., in the metric, before turns.
        variances: the same as a fraction of the variance of the outputs, without the metric.
    """

    def __init__(
        self,
        reading: Reading,
        axes: KernelAxes,
        fit: LinearFit,
        *,
        metric: np.ndarray | None = None,
        criterion: str = "output",
        rank: int | None = None,
    ):
        self._reading, self._axes = reading, axes
        self._fit, self._metric, self._criterion = fit, metric, criterion
        self._order = block_order(reading, axes)
        self._blocks = len(self._order) // reading.rows
        rank = min(reading.full_rank, rank or reading.full_rank)
        self._basis = self._directions()[:, :rank]
        # One factorization serves all ranks: the leading columns do not know of the others.
        self._triangle, self._rotated = self._factorized(self._basis)
        gains = np.square(self._rotated).sum(axis=1)
        self.variances = _left(fit.energy, gains, self._blocks) / (fit.energy or 1.0)
        if metric is not None:
            gains = np.sum((self._rotated @ metric) * self._rotated, axis=1)
            self.losses = _left(float(np.sum(metric * fit.outputs)), gains, self._blocks)
        else:
            self.losses = self.variances * fit.energy

    def factors(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Return basis `(rows, rank)` and learner `(rank, columns)`."""
        size = rank * self._blocks
        basis = self._basis[:, :rank]
        learner = _solved(self._triangle[:size, :size], self._rotated[:size])
        # A basis of the principal components of the inputs stays one. Full rank loses nothing.
        if self._blocks > 1 and self._criterion != "input" and rank < self._reading.full_rank:
            for _ in range(_TURNS):
                blocks = learner.reshape(rank, self._blocks, -1)
                basis = improved_basis(basis, blocks, self._fit, self._order, self._metric)
                learner = _solved(*self._factorized(basis))
        return basis, learner.reshape(rank, -1)

    def kernel(self, basis: np.ndarray, learner: np.ndarray) -> np.ndarray:
        """Return the kernel of factors as a matrix, shape `(in_dim, units)`."""
        shape = self._reading.shape
        return self._axes.to_matrix(self._reading.axes.from_matrix(basis @ learner, shape))

    def _factorized(self, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `T` and `T^-1 Pᵀ S_xy`, where `T Tᵀ = Pᵀ C P`."""
        gram = self._fit.inputs.projected(self._order, basis)
        cross = self._fit.cross[self._order].reshape(self._blocks, len(basis), -1)
        cross = np.tensordot(basis, cross, axes=(0, 1)).reshape(len(gram), -1)
        triangle = linalg.cholesky((gram + gram.T) / 2, lower=True)
        return triangle, linalg.solve_triangular(triangle, cross, lower=True)

    def _directions(self) -> np.ndarray:
        """Return orthonormal columns, the most important first."""
        fit, order, metric = self._fit, self._order, self._metric
        rows = self._reading.rows
        if self._criterion == "input":
            return _eigenvectors(fit.inputs.mean_block(order, rows))[:, : self._reading.full_rank]
        kernel = fit.solution()
        if metric is not None:
            # Any root will do: another one only rotates the eigenvectors.
            kernel = kernel @ np.linalg.cholesky(metric)
        if rows == len(order) <= kernel.shape[1] and not fit.inputs.is_sketched:
            # The same directions from the smaller matrix, `Lᵀ W G Wᵀ L` with `C = L Lᵀ`.
            root = linalg.cholesky(fit.inputs.matrix, lower=True)
            small = root.T @ kernel
            spread = linalg.solve_triangular(
                root, _eigenvectors(small @ small.T), lower=True, trans="T"
            )
        elif rows == len(order):
            spread = kernel @ _eigenvectors(kernel.T @ fit.inputs.times(kernel))
        else:
            blocks = kernel[order].reshape(-1, rows, kernel.shape[1])
            second = np.einsum("bri,bsi->rs", blocks, blocks, optimize=True)
            root = _square_root(fit.inputs.mean_block(order, rows))
            spread = second @ root @ _eigenvectors(root @ second @ root)
        return _orthonormal(spread[:, : self._reading.full_rank])


def _solved(triangle: np.ndarray, rotated: np.ndarray) -> np.ndarray:
    return linalg.solve_triangular(triangle, rotated, lower=True, trans="T")


def _left(total: float, gains: np.ndarray, blocks: int) -> np.ndarray:
    """Return what remains of a total for each rank, from 0 on."""
    explained = np.concatenate([[0.0], np.cumsum(gains.reshape(-1, blocks).sum(axis=1))])
    return np.maximum(total - explained, 0.0)


def _eigenvectors(matrix: np.ndarray) -> np.ndarray:
    """Return the eigenvectors of a symmetric matrix, that of the largest eigenvalue first."""
    return np.linalg.eigh((matrix + matrix.T) / 2)[1][:, ::-1]


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def _orthonormal(columns: Any) -> np.ndarray:
    """Return orthonormal columns of the same leading subspaces; those of zeros become any."""
    norms = np.linalg.norm(columns, axis=0)
    return np.linalg.qr(columns / np.where(norms > 0, norms, 1.0))[0]
