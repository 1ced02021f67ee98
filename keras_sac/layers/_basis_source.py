"""Read the `basis=` argument: a `Basis`, an array, or the name of a kind that is made later."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from keras_sac import bases
from keras_sac._arguments import integer
from keras_sac.bases import Basis, Moments


@dataclasses.dataclass(frozen=True)
class BasisKind:
    """How a layer makes a basis that it is only given the name of. One of the two functions.

    Args:
        from_shape: function of the shape of a row of inputs, the rank and the seed, called when the
            layer is built.
        from_moments: function of `bases.Moments` and the rank, called by `layer.adapt(data)`.
        needs_labels: whether `from_moments` needs the moments of each class.
    """

    from_shape: Callable[[tuple[int, ...], int, int], Basis] | None = None
    from_moments: Callable[[Moments, int], Basis] | None = None
    needs_labels: bool = False


_KINDS = {
    "random": BasisKind(
        lambda grid, rank, seed: bases.random_orthogonal(math.prod(grid), rank, seed)
    ),
    "dct": BasisKind(lambda grid, rank, seed: bases.dct(grid, rank)),
    "pca": BasisKind(None, lambda moments, rank: bases.pca(moments, rank)),
    "pca_whitened": BasisKind(None, lambda moments, rank: bases.pca(moments, rank, whiten=True)),
    "lda": BasisKind(None, lambda moments, rank: bases.lda(moments, rank=rank), True),
    "lda_pca": BasisKind(None, lambda moments, rank: bases.lda_pca(moments, rank=rank), True),
}


def register_basis_kind(
    name: str,
    *,
    from_shape: Callable[[tuple[int, ...], int, int], Basis] | None = None,
    from_moments: Callable[[Moments, int], Basis] | None = None,
    needs_labels: bool = False,
) -> None:
    """Give a way to make a basis a name that SAC layers take as `basis=`.

    Args:
        name: of the kind; it is saved with the layer. Where the layer is loaded and adapted anew,
            the kind must be registered; its matrix is loaded without.
        from_shape: `function(grid, rank, seed)` that returns a `Basis` of shape
            `(prod(grid), rank)`; `grid` is `(in_dim,)` for a dense layer and
            `(*kernel_size, channels)` for a convolution. Called when the layer is built.
        from_moments: `function(moments, rank)` that returns a `Basis`, called by `adapt(data)`.
            Pass one of the two functions.
        needs_labels: whether `from_moments` needs the moments of each class.

    Raises:
        ValueError: if the name is taken, or not one of the two functions is given.

    Examples:
        >>> import numpy as np
        >>> from keras_sac import SACDense, bases
        >>> from keras_sac.layers import register_basis_kind
        >>> def leading_axes(grid, rank, seed):
        ...     return bases.Basis(np.eye(int(np.prod(grid)), rank, dtype="float32"))
        >>> register_basis_kind("leading_axes", from_shape=leading_axes)
        >>> layer = SACDense(3, "leading_axes", rank=2)
        >>> layer.build((None, 5))
        >>> tuple(layer.basis.shape)
        (5, 2)
    """
    if name in (*_KINDS, "custom"):
        raise ValueError(f"`name` must be new. Received: name={name!r}, which exists.")
    if (from_shape is None) == (from_moments is None):
        raise ValueError(
            "Pass one of `from_shape` and `from_moments`. Received: "
            + ("none of them" if from_shape is None else "both")
        )
    _KINDS[name] = BasisKind(from_shape, from_moments, needs_labels)


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
    elif basis not in _KINDS and (basis != "custom" or rank is None):
        raise ValueError(
            f"`basis` must be a `keras_sac.bases.Basis`, an array of shape (in_dim, rank), or one "
            f"of {', '.join(map(repr, _KINDS))}. Received: basis={basis!r}"
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


def basis_from_shape(kind: str, grid: tuple[int, ...], rank: int, seed: int) -> Basis | None:
    """Return the basis if its kind needs no data; `grid` is the shape of a row of inputs."""
    make = _KINDS.get(kind, BasisKind()).from_shape
    return None if make is None else make(grid, rank, seed)


def basis_from_moments(kind: str, moments: Moments, rank: int) -> Basis:
    """Return the basis of a kind that is computed from the moments of data."""
    make = _KINDS[kind].from_moments
    if make is None:
        raise ValueError(f"The kind {kind!r} of a basis is not computed from data.")
    return make(moments, rank)


def needs_data(kind: str) -> bool:
    """Return whether the kind is computed from data."""
    return _KINDS.get(kind, BasisKind()).from_moments is not None


def needs_labels(kind: str) -> bool:
    """Return whether the kind is computed from data with class labels."""
    return _KINDS.get(kind, BasisKind()).needs_labels
