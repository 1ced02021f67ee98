"""`Basis`: the fixed subspace that a SAC layer is trained in, and its file."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_sac._arguments import at_least_zero, integer
from keras_sac._io import check_free, invalid_if_it_fails, read_npz, write_npz
from keras_sac._model import to_numpy
from keras_sac.bases._fitted_estimator import fields_of

_TAG = "keras_sac.Basis/1"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Basis:
    """Basis of a subspace of the inputs, with statistics of the data along its columns.

    `W = B L` with `B` of shape `(in_dim, rank)`. The columns of `B` span the subspace, the most
    important ones first. All arrays are read-only.

    Args:
        matrix: the columns, shape `(in_dim, rank)`, finite. Stored as C-contiguous float32.
        kind: method that made the basis: `"pca"`, `"pca_whitened"`, `"lda"`, `"lda_pca"`,
            `"random"`, `"dct"` or `"custom"`.
        mean: mean of the data, shape `(in_dim,)`, float32.
        spectrum: eigenvalues of the columns, shape `(rank,)`, float64.
        variances: variance of the data along each column, `diag(Bᵀ Cov B)`, shape `(rank,)`,
            float64. Whitened columns have variance 1.
        total_variance: `trace(Cov)` of the data.
        n_samples: number of samples that the basis was computed from.
        seed: for `kind="random"`, the seed that makes the same matrix again.

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
                "`matrix` must have the shape (in_dim, rank), with at least one row and one "
                f"column. Received: shape {matrix.shape}"
            )
        in_dim, rank = matrix.shape
        if rank > in_dim:
            raise ValueError(
                "`matrix` must have the shape (in_dim, rank), with no more columns than rows. "
                f"Received: shape {matrix.shape}. If the rows are the basis vectors, pass the "
                "transpose."
            )
        if not isinstance(self.kind, str) or not self.kind:
            raise ValueError(f"`kind` must be a non-empty string. Received: kind={self.kind!r}")
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
                    f"`{name}` must have the shape ({length},) for a matrix of shape "
                    f"{matrix.shape}. Received: shape {value.shape}"
                )
            object.__setattr__(self, name, value)
        total = self.total_variance
        if total is not None:
            object.__setattr__(self, "total_variance", at_least_zero("total_variance", total))
        for name in ("n_samples", "seed"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, integer(name, value, 0))

    @classmethod
    def from_matrix(cls, matrix: Any, kind: str = "custom", **statistics: Any) -> "Basis":
        """Make a basis from a NumPy array, a tensor of any backend, or nested lists.

        Args:
            matrix: shape `(in_dim, rank)`, `rank <= in_dim`, real and finite.
            kind: name of the method that made it.
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

    @classmethod
    def from_sklearn(cls, estimator: Any) -> "Basis":
        """Make a basis from a decomposition that scikit-learn has fitted.

        `transform` of both gives the same projections, up to single precision.

        Args:
            estimator: fitted `PCA` (with `whiten`, too), `IncrementalPCA` or `TruncatedSVD`.

        Returns:
            A `Basis` of kind `"pca"`, `"pca_whitened"` or, for `TruncatedSVD`, `"custom"`.

        Raises:
            ValueError: if the estimator is not fitted, or of another kind.

        Examples:
            >>> import numpy as np
            >>> from sklearn.decomposition import PCA
            >>> x = np.random.default_rng(0).normal(size=(100, 5))
            >>> Basis.from_sklearn(PCA(2).fit(x))
            <Basis "pca": rank 2 of 5 inputs, 51.4 % of the variance of 100 samples>
        """
        return cls(**fields_of(estimator))

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
        """Fraction of the total variance along each column, scaled to unit norm, shape `(rank,)`.

        `vᵀ Cov v / trace(Cov)` with `v = b / |b|`. `None` if the basis has no statistics of data;
        zeros if the data are constant.
        """
        if self.variances is None or self.total_variance is None:
            return None
        if self.total_variance == 0:
            return np.zeros(self.rank)
        squared_norms = np.sum(np.square(self.matrix, dtype=np.float64), axis=0)
        safe = np.where(squared_norms > 0, squared_norms, 1.0)
        return self.variances / safe / self.total_variance

    def transform(self, x: Any) -> np.ndarray:
        """Project samples onto the columns: `(x - mean) B`, or `x B` if the basis has no mean.

        A SAC layer computes `x B`; with centered projections, only its bias is different.

        Args:
            x: array or tensor of shape `(..., in_dim)`.

        Returns:
            Shape `(..., rank)`, float32; float64 for float64.

        Raises:
            ValueError: if the last axis of `x` is not `in_dim`, or `x` does not hold real numbers.

        Examples:
            >>> import numpy as np
            >>> Basis(np.eye(3)[:, :2], mean=[1.0, 0.0, 0.0]).transform([[3.0, 4.0, 5.0]])
            array([[2., 4.]])
        """
        x = to_numpy(x)
        if x.dtype.kind not in "biuf" or x.ndim == 0 or x.shape[-1] != self.in_dim:
            raise ValueError(
                f"`x` must hold real numbers of shape (..., {self.in_dim}). Received: {x.dtype} of "
                f"shape {x.shape}"
            )
        dtype = np.float64 if x.dtype.itemsize > 4 else np.float32
        # The difference in double precision: a mean far above the deviations costs no digits.
        centered = x if self.mean is None else np.subtract(x, self.mean, dtype=np.float64)
        return centered.astype(dtype) @ self.matrix.astype(dtype)

    def truncate(self, rank: int) -> "Basis":
        """Return a basis of the leading columns.

        Args:
            rank: number of columns to keep, `1 <= rank <= self.rank`.

        Returns:
            A new `Basis`.

        Raises:
            ValueError: if `rank` is out of range.

        Examples:
            >>> import numpy as np
            >>> Basis(np.eye(3), kind="custom").truncate(2).matrix.shape
            (3, 2)
        """
        rank = check_rank(rank, self.rank, "the number of columns of the basis")
        spectrum = None if self.spectrum is None else self.spectrum[:rank]
        variances = None if self.variances is None else self.variances[:rank]
        return dataclasses.replace(
            self, matrix=self.matrix[:, :rank], spectrum=spectrum, variances=variances
        )

    def __repr__(self) -> str:
        ratios = self.explained_variance_ratio
        kept = "" if ratios is None else f", {ratios.sum():.1%} of the variance".replace("%", " %")
        of = f" of {self.n_samples} samples" if kept and self.n_samples is not None else ""
        return f'<Basis "{self.kind}": rank {self.rank} of {self.in_dim} inputs{kept}{of}>'

    def save(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Write the basis to `path` as an `.npz` file without pickle, whole or not at all.

        Args:
            path: path of the new file. No suffix is added.
            overwrite: replace an existing file.

        Raises:
            FileExistsError: if the path exists and `overwrite` is false.
            FileNotFoundError: if the folder of the file does not exist.

        Examples:
            >>> import numpy as np, os, tempfile
            >>> path = os.path.join(tempfile.mkdtemp(), "basis.npz")
            >>> Basis(np.eye(3), kind="custom").save(path)
            >>> Basis.load(path).in_dim
            3
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        target = check_free(path, "", overwrite)
        write_npz(target, _TAG, {k: np.asarray(v) for k, v in fields.items() if v is not None})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Basis":
        """Read a basis from a file that `save` wrote.

        Args:
            path: path of the file.

        Returns:
            The `Basis`.

        Raises:
            FileNotFoundError: if the file does not exist.
            InvalidFileError: if the file is damaged or cut short, was not written by `save`, or
                holds no valid basis.
        """
        arrays = read_npz(
            path,
            _TAG,
            otherwise="To use a matrix of your own, load it with NumPy and pass it to "
            "`Basis.from_matrix`.",
        )
        known = {f.name for f in dataclasses.fields(cls)}
        name = os.fspath(path)
        with invalid_if_it_fails(f"{name!r} holds no valid basis. {{}}. Save the basis again."):
            if not {"matrix", "kind"} <= set(arrays) <= known:
                raise ValueError(
                    f"The file of a basis must hold 'matrix' and 'kind', and no entries but "
                    f"{sorted(known)}. Received: {sorted(arrays)}"
                )
            # Zero-dimensional entries hold plain Python values: str, float, int.
            values: dict[str, Any] = {
                name: value.item() if value.ndim == 0 else value for name, value in arrays.items()
            }
            return cls(**values)


def check_rank(rank: Any, limit: int, meaning: str, advice: str = "") -> int:
    """Return `rank` if it is an integer between 1 and `limit`.

    Args:
        rank: number of columns, as the user passed it.
        limit: the largest valid one.
        meaning: of the limit, for the message: "`in_dim`".
        advice: next step, the end of the message.
    """
    number = rank_number(rank)
    if number > limit:
        raise ValueError(
            f"`rank` must be between 1 and {limit} ({meaning}). Received: rank={rank!r}"
            + (f". {advice}" if advice else "")
        )
    return number


def rank_number(rank: Any) -> int:
    """Return `rank` if it is an integer of at least 1."""
    if isinstance(rank, float) and 0 < rank < 1:
        raise ValueError(
            f"`rank` must be an integer >= 1. Received: rank={rank!r}. For a fraction of the "
            "variance, compute the moments first: `moments = bases.Moments.from_data(data)`, then "
            f"`rank=bases.choose_rank(moments, explained_variance={rank!r})`."
        )
    return integer("rank", rank, 1)


def _frozen(name: str, value: Any, dtype: type) -> np.ndarray:
    raw = to_numpy(value)
    if raw.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold real numbers. Received: an array of {raw.dtype}")
    with np.errstate(over="ignore"):
        array = np.array(raw, dtype=dtype, order="C")
    if not np.all(np.isfinite(array)):
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        raise ValueError(
            f"`{name}` must be finite in {np.dtype(dtype).name}. Received: an array with {bad} of "
            f"{array.size} entries that are NaN, infinite, or too large for that type."
        )
    array.setflags(write=False)
    return array
