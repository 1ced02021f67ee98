"""Choose the units whose removal costs least, if the layers that read them adjust to it."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

# Units among which the next ones to go are chosen exactly, and how many of them go, before the
# other units are looked at again.
_CANDIDATES = 32
_ROUNDS = 96
# Fraction of the inputs that may be gone before the matrices are made smaller.
_DEAD = 0.15


@dataclasses.dataclass
class Reader:
    """A kernel that reads units.

    Attributes:
        covariance: `C` of its inputs, regularized, shape `(in_dim, in_dim)`; or its diagonal alone.
        kernel: `W G^1/2`, shape `(in_dim, n)`: squared errors of `x W G^1/2` are in units of the
            loss.
        rows: the inputs that belong to each unit; none for those that it does not read.
    """

    covariance: np.ndarray
    kernel: np.ndarray
    rows: Sequence[np.ndarray]


def eliminate(readers: Sequence[Reader], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return units in the order in which they go, and by how much each raises the loss.

    Backward elimination. Without the inputs `R`, the kernel of least squares changes by
    `-P_:R P_RR^-1 W_R`, with `P = C^-1`, and its error rises by `tr(W_Rᵀ P_RR^-1 W_R) / 2`; then
    `P <- P - P_:R P_RR^-1 P_R:`. The unit with the smallest rise goes, again and again.

    Args:
        readers: of the units.
        count: number of units; all but the last one are ordered, and it comes last.

    Reference:
        Hassibi & Stork, 1993, "Optimal Brain Surgeon", with blocks in the place of weights.
    """
    states = [_State(each) for each in readers]
    alive = np.arange(count)
    order: list[int] = []
    rises: list[float] = []
    while len(alive) > 1:
        scores = sum((each.scores(alive) for each in states), np.zeros(len(alive)))
        size = min(len(alive) - 1, max(1, count // _ROUNDS))
        candidates = alive[np.argsort(scores)[: max(_CANDIDATES, size)]]
        gone, found = _best_of(states, candidates, size)
        order += gone
        rises += found
        alive = alive[~np.isin(alive, gone)]
        for each in states:
            each.remove(gone)
    final = sum((each.scores(alive) for each in states), np.zeros(len(alive)))
    return np.array([*order, *alive]), np.array([*rises, *final])


def _best_of(
    states: Sequence["_State"], candidates: np.ndarray, count: int
) -> tuple[list[int], list[float]]:
    """Eliminate some of the candidates one by one, and return them and the rises."""
    local = [each.part(candidates) for each in states]
    left, gone, rises = np.arange(len(candidates)), [], []
    while len(gone) < count:
        scores = sum((each.scores(left) for each in local), np.zeros(len(left)))
        best = int(np.argmin(scores))
        gone.append(int(candidates[left[best]]))
        rises.append(float(scores[best]))
        if len(gone) < count:
            for each in local:
                each.remove([int(left[best])])
            left = np.delete(left, best)
    return gone, rises


class _State:
    """The inverse `P` and the kernel `W` of a reader, while units go."""

    def __init__(self, reader: Reader):
        self.rows, self.kernel = list(reader.rows), reader.kernel.astype(np.float64)
        self.diagonal = reader.covariance.ndim == 1
        if self.diagonal:
            self.inverse = 1.0 / reader.covariance
        else:
            # Only the lower triangle is meaningful, here and later.
            factor, _ = linalg.cho_factor(reader.covariance, lower=True)
            self.inverse = np.asfortranarray(lapack.dpotri(factor, lower=1)[0])
        # Inputs that belong to no unit, and the number of those that are gone.
        self._others = np.setdiff1d(np.arange(len(self.kernel)), np.concatenate(self.rows))
        self._gone = 0

    def part(self, units: np.ndarray) -> "_State":
        """Return the state of some units alone."""
        new = object.__new__(_State)
        rows = [self.rows[each] for each in units]
        ends = np.cumsum([0, *map(len, rows)])
        new.rows = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
        joined = np.concatenate(rows)
        new.kernel, new.diagonal = self.kernel[joined], self.diagonal
        new._others, new._gone = np.zeros(0, int), 0
        new.inverse = self.inverse[joined] if self.diagonal else self._block(joined)
        return new

    def _block(self, rows: np.ndarray) -> np.ndarray:
        """Return the inverse at some rows and the same columns; several sets of rows at once."""
        later = np.maximum(rows[..., :, None], rows[..., None, :])
        earlier = np.minimum(rows[..., :, None], rows[..., None, :])
        return self.inverse[later, earlier]

    def scores(self, units: np.ndarray) -> np.ndarray:
        """Return by how much the loss rises without each of some units."""
        found = np.zeros(len(units))
        sizes = np.array([len(self.rows[each]) for each in units])
        for size in np.unique(sizes[sizes > 0]):
            here = np.flatnonzero(sizes == size)
            rows = np.stack([self.rows[units[each]] for each in here])
            kernel = self.kernel[rows]
            if self.diagonal:
                found[here] = np.sum(np.square(kernel) / self.inverse[rows][..., None], (1, 2)) / 2
            else:
                blocks = self._block(rows)
                # `W Wᵀ` of a unit is smaller than its kernel.
                energy = kernel @ np.swapaxes(kernel, 1, 2)
                found[here] = np.trace(np.linalg.solve(blocks, energy), axis1=1, axis2=2) / 2
        return np.maximum(found, 0.0)

    def remove(self, units: Sequence[int]) -> None:
        """Let the kernel adjust to the absence of some units."""
        rows = np.concatenate([self.rows[each] for each in units])
        if self.diagonal or not len(rows):
            return
        columns = np.arange(len(self.inverse))
        across = np.where(columns <= rows[:, None], self.inverse[rows], self.inverse[:, rows].T)
        root = np.linalg.cholesky(across[:, rows])
        scaled = linalg.solve_triangular(root, across, lower=True)
        self.kernel -= scaled.T @ linalg.solve_triangular(root, self.kernel[rows], lower=True)
        # `P -= P_:R P_RR^-1 P_R:`
        self.inverse = blas.dsyrk(
            -1.0, scaled, beta=1.0, c=self.inverse, trans=1, lower=1, overwrite_c=1
        )
        for each in units:
            self.rows[each] = np.zeros(0, int)
        self._gone += len(rows)
        if self._gone > _DEAD * len(self.inverse):
            self._compress()

    def _compress(self) -> None:
        """Drop what is gone, which all steps would have to pass over."""
        left = np.sort(np.concatenate([*self.rows, self._others]))
        places = np.zeros(len(self.inverse), int)
        places[left] = np.arange(len(left))
        self.rows = [places[each] for each in self.rows]
        self._others = places[self._others]
        self.inverse = np.asfortranarray(self.inverse[np.ix_(left, left)])
        self.kernel = self.kernel[left]
        self._gone = 0
