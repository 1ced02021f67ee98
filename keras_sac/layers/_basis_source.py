"""Where a layer's basis comes from: a `Basis`, an array, or a kind that is made later."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sac import bases
from keras_sac.bases import Basis, Moments

# What each kind needs of the data's moments, the shape of the input patch, the rank and the seed.
# A new kind is one line in one of the two tables.
_FROM_SHAPE: dict[str, Callable[..., Basis]] = {
    "random": lambda grid, rank, seed: bases.random_orthogonal(int(np.prod(grid)), rank, seed),
    "dct": lambda grid, rank, seed: bases.dct(grid, rank),
}
_FROM_DATA: dict[str, Callable[[Moments, int], Basis]] = {
    "pca": lambda moments, rank: bases.pca(moments, rank),
    "pca_whitened": lambda moments, rank: bases.pca(moments, rank, whiten=True),
    "lda": lambda moments, rank: bases.lda(moments, rank=rank),
    "lda_pca": lambda moments, rank: bases.lda_pca(moments, rank=rank),
}
KINDS = (*_FROM_SHAPE, *_FROM_DATA)


class LiveKind(str):
    """A kind that remembers, within the process, where the basis itself can be read.

    A layer's configuration holds only the kind: the matrix is a weight. Layers copied in the same
    process (`keras.models.clone_model`) are built from the configuration alone, and a copy without
    the frozen basis would be of no use. In JSON and in a pickle this is a plain string.
    """

    read: Callable[[], Basis | None]

    def __new__(cls, kind: str, read: Callable[[], Basis | None]) -> "LiveKind":
        """Make the string `kind` that can `read()` a basis."""
        self = super().__new__(cls, kind)
        self.read = read
        return self

    def __reduce__(self):
        return str, (str(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LiveKind":
        # Nested models copy their configuration before it is read.
        return self


def resolve(basis: Any, rank: int | None) -> tuple[str, Basis | None, int]:
    """Return the kind, the basis if it is known already, and the rank."""
    given = None
    kind = basis
    if isinstance(basis, LiveKind):
        given, kind = basis.read(), str(basis)
    elif isinstance(basis, Basis):
        # A shape and a seed need not give this very matrix again: it may have been truncated.
        given, kind = basis, basis.kind if needs_data(basis.kind) else "custom"
    elif not isinstance(basis, str):
        given, kind = Basis.from_matrix(basis), "custom"
    elif basis not in KINDS and (basis != "custom" or rank is None):
        raise ValueError(
            f"`basis` must be a `keras_sac.bases.Basis`, an array of shape (in_dim, rank), or one "
            f"of {', '.join(map(repr, KINDS))}; received {basis!r}."
        )
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int | np.integer)):
        raise ValueError(f"`rank` must be an integer; received {rank!r}.")
    if rank is not None and rank < 1:
        raise ValueError(f"`rank` must be at least 1; received {rank}.")
    if given is not None:
        given = given if rank is None or rank == given.rank else given.truncate(int(rank))
        return kind, given, given.rank
    if rank is None:
        raise ValueError(
            f'`basis="{kind}"` needs a rank: pass `rank=`, an integer between 1 and the input '
            "width."
        )
    return kind, None, int(rank)


def from_shape(kind: str, grid: tuple[int, ...], rank: int, seed: int) -> Basis | None:
    """Make the basis if its kind needs no data; `grid` is the shape of what it multiplies."""
    make = _FROM_SHAPE.get(kind)
    return None if make is None else make(grid, rank, seed)


def from_moments(kind: str, moments: Moments, rank: int) -> Basis:
    """Make the basis of the data whose moments are given."""
    return _FROM_DATA[kind](moments, rank)


def needs_data(kind: str) -> bool:
    """Whether the kind is computed from data."""
    return kind in _FROM_DATA
