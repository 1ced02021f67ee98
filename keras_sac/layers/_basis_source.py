"""Read the `basis=` argument: a `Basis`, an array, or the name of a kind that is made later."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sac import bases
from keras_sac._arguments import integer
from keras_sac.bases import Basis, Moments

# A new kind of basis is one line in one of these two tables.
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
    """The name of a kind that can also read the basis itself, as long as the process lives.

    A layer's configuration holds only the kind, because the matrix is a weight.
    `keras.models.clone_model` builds layers from the configuration alone, and the copy must have
    the same frozen basis. In JSON and in a pickle this is a plain string.
    """

    read: Callable[[], Basis | None]

    def __new__(cls, kind: str, read: Callable[[], Basis | None]) -> "LiveKind":
        """Return the string `kind` with a method `read()` that returns a basis."""
        self = super().__new__(cls, kind)
        self.read = read
        return self

    def __reduce__(self):
        return str, (str(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LiveKind":
        # A nested model copies its configuration before the configuration is read.
        return self


def resolve(basis: Any, rank: int | None) -> tuple[str, Basis | None, int]:
    """Return the kind of the basis, the basis if it is known already, and the rank."""
    given = None
    kind = basis
    if isinstance(basis, LiveKind):
        given, kind = basis.read(), str(basis)
    elif isinstance(basis, Basis):
        # A shape and a seed may not give the same matrix again: the basis may have been truncated.
        given, kind = basis, basis.kind if needs_data(basis.kind) else "custom"
    elif not isinstance(basis, str):
        given, kind = Basis.from_matrix(basis), "custom"
    elif basis not in KINDS and (basis != "custom" or rank is None):
        raise ValueError(
            f"`basis` must be a `keras_sac.bases.Basis`, an array of shape (in_dim, rank), or one "
            f"of {', '.join(map(repr, KINDS))}. Received: basis={basis!r}"
        )
    if rank is not None:
        rank = integer("rank", rank, 1)
    if given is not None:
        given = given if rank is None or rank == given.rank else given.truncate(rank)
        return kind, given, given.rank
    if rank is None:
        raise ValueError(
            f"`rank` must be an integer between 1 and the input width for `basis={kind!r}`. "
            "Received: rank=None"
        )
    return kind, None, rank


def from_shape(kind: str, grid: tuple[int, ...], rank: int, seed: int) -> Basis | None:
    """Return the basis if its kind needs no data; `grid` is the shape of a row of inputs."""
    make = _FROM_SHAPE.get(kind)
    return None if make is None else make(grid, rank, seed)


def from_moments(kind: str, moments: Moments, rank: int) -> Basis:
    """Return the basis of a kind that is computed from the moments of data."""
    return _FROM_DATA[kind](moments, rank)


def needs_data(kind: str) -> bool:
    """Return whether the kind is computed from data."""
    return kind in _FROM_DATA
