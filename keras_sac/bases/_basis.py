"""The fixed subspace that a SAC layer is trained in."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_sac._io import read_npz, write_npz
from keras_sac._model import to_numpy

_TAG = "keras_sac.Basis/1"


@dataclasses.dataclass(frozen=True, eq=False)
class Basis:
    """A basis of a subspace of the inputs, with what is known of the data along it.

    `W = B L` with `B` of shape `(in_dim, rank)`: the columns of `B` span the subspace, the most
    important ones first. All arrays are read-only.

    Args:
        matrix: the columns, shape `(in_dim, rank)`, finite; kept as C-contiguous float32.
        kind: how it was made: `"pca"`, `"pca_whitened"`, `"lda"`, `"lda_pca"`, `"random"`,
            `"dct"` or `"custom"`.
        mean: mean of the data, shape `(in_dim,)`, float32.
        spectrum: eigenvalues that belong to the columns, shape `(rank,)`, float64.
        variances: variance of the data along each column as it is, `diag(Bᵀ Cov B)`, shape
            `(rank,)`, float64. Whitened columns have variance 1.
        total_variance: `trace(Cov)` of the data.
        n_samples: number of samples that the basis was computed from.
        seed: for `kind="random"`, what makes the same matrix again.

    Raises:
        ValueError: if a shape is wrong, an entry is not finite, or there are more columns than
            rows.

    Examples:
        >>> import numpy as np
        >>> basis = Basis(np.eye(4)[:, :2], kind="custom")
        >>> basis.in_dim, basis.rank, basis.truncate(1).rank
        (4, 2, 1)

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning";
        Li et al., 2018, "Measuring the Intrinsic Dimension of Objective Landscapes".
    """

    matrix: np.ndarray
    kind: str = "custom"
    mean: np.ndarray | None = None
    spectrum: np.ndarray | None = None
    variances: np.ndarray | None = None
    total_variance: float | None = None
    n_samples: int | None = None
    seed: int | None = None

    def __post_init__(self):
        matrix = _frozen("matrix", self.matrix, np.float32)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(
                "A basis needs a matrix of shape (in_dim, rank) with at least one row and one "
                f"column; received shape {matrix.shape}."
            )
        in_dim, rank = matrix.shape
        if rank > in_dim:
            raise ValueError(
                f"A basis cannot have more columns than rows: received shape {matrix.shape}, read "
                "as (in_dim, rank). Pass its transpose if the rows are the basis vectors."
            )
        if not isinstance(self.kind, str) or not self.kind:
            raise ValueError(f"`kind` must be a non-empty string; received {self.kind!r}.")
        object.__setattr__(self, "matrix", matrix)
        for name, length, dtype in (
            ("mean", in_dim, np.float32),
            ("spectrum", rank, np.float64),
            ("variances", rank, np.float64),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            value = _frozen(name, value, dtype)
            if value.shape != (length,):
                raise ValueError(
                    f"`{name}` must have shape ({length},) for a matrix of shape {matrix.shape}; "
                    f"received shape {value.shape}."
                )
            object.__setattr__(self, name, value)
        total = self.total_variance
        if total is not None:
            total = float(total)
            if not (np.isfinite(total) and total >= 0):
                raise ValueError(f"`total_variance` must be finite and >= 0; received {total}.")
            object.__setattr__(self, "total_variance", total)
        for name in ("n_samples", "seed"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _integer(name, value))

    @classmethod
    def from_matrix(cls, matrix: Any, kind: str = "custom", **statistics: Any) -> "Basis":
        """Make a basis of any array: NumPy, a tensor of any backend, nested lists.

        Args:
            matrix: shape `(in_dim, rank)`, `rank <= in_dim`, real and finite.
            kind: a name for it.
            **statistics: `mean`, `spectrum`, `variances`, ... as in the constructor.

        Returns:
            A `Basis`.

        Raises:
            ValueError: as the constructor.

        Examples:
            >>> Basis.from_matrix([[1.0], [0.0]]).matrix.shape
            (2, 1)
        """
        return cls(matrix, kind=kind, **statistics)

    @property
    def in_dim(self) -> int:
        """Number of inputs."""
        return self.matrix.shape[0]

    @property
    def rank(self) -> int:
        """Number of columns."""
        return self.matrix.shape[1]

    @property
    def explained_variance_ratio(self) -> np.ndarray | None:
        """Share of the total variance along each column scaled to unit norm, shape `(rank,)`.

        `vᵀ Cov v / trace(Cov)` with `v = b / |b|`. `None` where no data are behind the basis;
        zeros where the data are constant.
        """
        if self.variances is None or self.total_variance is None:
            return None
        if self.total_variance == 0:
            return np.zeros(self.rank)
        squared_norms = np.sum(np.square(self.matrix, dtype=np.float64), axis=0)
        safe = np.where(squared_norms > 0, squared_norms, 1.0)
        return self.variances / safe / self.total_variance

    def truncate(self, rank: int) -> "Basis":
        """Keep the leading columns.

        Args:
            rank: how many to keep, `1 <= rank <= self.rank`.

        Returns:
            A new `Basis`.

        Raises:
            ValueError: if `rank` is out of range.

        Examples:
            >>> import numpy as np
            >>> Basis(np.eye(3), kind="custom").truncate(2).matrix.shape
            (3, 2)
        """
        rank = check_rank(rank, self.rank, "columns of the basis")
        spectrum = None if self.spectrum is None else self.spectrum[:rank]
        variances = None if self.variances is None else self.variances[:rank]
        return dataclasses.replace(
            self, matrix=self.matrix[:, :rank], spectrum=spectrum, variances=variances
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the basis to `path` as an `.npz` without pickle, whole or not at all.

        Args:
            path: where to write; the name is kept as given.

        Examples:
            >>> import numpy as np, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "basis.npz")
            >>> Basis(np.eye(3), kind="custom").save(path)
            >>> Basis.load(path).in_dim
            3
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        write_npz(path, _TAG, {k: np.asarray(v) for k, v in fields.items() if v is not None})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Basis":
        """Read what `save` wrote.

        Args:
            path: the file.

        Returns:
            The `Basis`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is truncated or foreign, or its content is no valid basis.
        """
        arrays = read_npz(
            path,
            _TAG,
            otherwise="To use a matrix of your own, load it with NumPy and pass it to "
            "`Basis.from_matrix`.",
        )
        known = {f.name for f in dataclasses.fields(cls)}
        if not {"matrix", "kind"} <= set(arrays) <= known:
            raise ValueError(
                f"{os.fspath(path)!r} holds the entries {sorted(arrays)}; expected 'matrix' and "
                f"'kind', and others only of {sorted(known)}. Save the basis again."
            )
        # Zero-dimensional entries are the plain Python values: str, float, int.
        fields: dict[str, Any] = {k: v.item() if v.ndim == 0 else v for k, v in arrays.items()}
        return cls(**fields)


def check_rank(rank: Any, limit: int, what: str, *, name: str = "rank") -> int:
    """Return `rank` as an int if it is one and `1 <= rank <= limit`; `what` names the limit."""
    rank = _integer(name, rank)
    if not 1 <= rank <= limit:
        raise ValueError(
            f"`{name}` must be between 1 and {limit}, the number of {what}; received {rank}."
        )
    return rank


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"`{name}` must be an integer; received {value!r}.")
    return int(value)


def _frozen(name: str, value: Any, dtype: type) -> np.ndarray:
    raw = to_numpy(value)
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold real numbers; received an array of {raw.dtype}.")
    with np.errstate(over="ignore"):
        array = np.array(raw, dtype=dtype, order="C")
    if not np.all(np.isfinite(array)):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise ValueError(
            f"`{name}` must be finite in {np.dtype(dtype).name}; {bad} of its {array.size} entries "
            "are NaN, infinite, or too large for that type."
        )
    array.setflags(write=False)
    return array
