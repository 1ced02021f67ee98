"""`pca`: the principal components of data or of their moments."""

import warnings
from typing import Any

import numpy as np

from keras_sac._model import is_array, is_frame, is_lazy, labelled_batches
from keras_sac.bases._basis import Basis, check_rank
from keras_sac.bases._batch_sums import check_finite
from keras_sac.bases._linalg import complete, fix_signs, leading_eigenpairs
from keras_sac.bases._moments import Moments, read_moments

# Eigenvalues below this fraction of the largest are rounding errors of single precision.
RESOLUTION = float(np.finfo(np.float32).eps)
# Columns of the data that are centered at once if there are few samples.
_COLUMNS = 4096
# Fraction of the variance from which on one feature decides the leading component.
_ONE_FEATURE = 0.995


def pca(
    data: Any,
    rank: int | None = None,
    *,
    whiten: bool = False,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Compute a basis of principal components, the leading eigenvectors of the covariance.

    `Cov v = λ v`, `λ₁ >= λ₂ >= ...`. The columns are orthonormal, or `v / √λ` with `whiten`, so
    that the projections of the data have variance 1. The largest entry in magnitude of a column is
    positive (the first of those within a thousandth of it), so signs do not depend on the machine.

    For an array with fewer samples than features, the Gram matrix of the centered samples is
    solved, `(n, n)` instead of `(in_dim, in_dim)`; for moments and iterables, the covariance.
    Columns for which the data have no variance (constant features, `rank >= n`) complete the basis.

    Args:
        data: `Moments`, or data as for `Moments.from_data`; labels are not used. The last axis
            holds the features: if pixels are the features, flatten images first.
        rank: number of columns, between 1 and `in_dim`. Defaults to the most that can have
            variance, `min(in_dim, n - 1)`.
        whiten: divide each column by its standard deviation.
        batch_size: rows per batch, for arrays.
        verbose: `"auto"`, 0, 1 or 2. 0 is silent; the others show a progress bar if the pass takes
            longer than two seconds.

    Returns:
        A `Basis` of kind `"pca"` or `"pca_whitened"`; `spectrum` holds the eigenvalues.

    Raises:
        ValueError: if `rank` is out of range, the data are empty or not finite, there is only one
            sample, or `whiten=True` and a direction has no variance.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 0.1]
        >>> basis = pca(x, rank=2)
        >>> basis.matrix.round().astype(int).T.tolist()
        [[0, 1, 0], [1, 0, 0]]
        >>> bool(basis.explained_variance_ratio.sum() > 0.99)
        True

    Reference:
        Jolliffe, 2002, "Principal Component Analysis".
    """
    rows = _small_sample(data)
    if rows is not None:
        rank = _checked_rank(rank, rows.shape[1], len(rows))
        values, vectors, mean, total = _through_gram(rows, rank)
        _check_scales(rows.var(axis=0, dtype=np.float64), rank)
        count = len(rows)
    else:
        if rank is not None and not isinstance(data, Moments):
            check_rank(rank, known_width(data, rank), "the number of features")
        moments = as_moments(data, batch_size=batch_size, verbose=verbose)
        rank = _checked_rank(rank, moments.in_dim, moments.count)
        covariance = moments.covariance
        _check_scales(np.diagonal(covariance), rank)
        values, vectors = leading_eigenpairs(covariance, rank)
        mean, total, count = moments.mean, moments.total_variance, moments.count
    values = np.maximum(values, 0.0)
    variances = values
    if whiten:
        usable = int(np.count_nonzero(values > RESOLUTION * values[0]))
        if usable < rank:
            raise ValueError(
                f"`whiten=True` needs variance along all {rank} columns. Received: data that vary "
                f"along {usable} (some features are constant or linearly dependent). Use "
                f"{f'rank <= {usable}' if usable else 'data that vary'}, or whiten=False."
            )
        vectors, variances = vectors / np.sqrt(values), np.ones(rank)
    return Basis(
        vectors,
        kind="pca_whitened" if whiten else "pca",
        mean=mean,
        spectrum=values,
        variances=variances,
        total_variance=total,
        n_samples=count,
    )


def as_moments(
    data: Any,
    labels: Any = None,
    *,
    use_labels: bool = False,
    batch_size: int,
    verbose: str | int,
) -> Moments:
    """Return `data` if it is `Moments`, else the moments of the data."""
    if not isinstance(data, Moments):
        return read_moments(
            data, labels, use_labels=use_labels, batch_size=batch_size, verbose=verbose
        )
    if labels is not None:
        raise ValueError(
            "`labels` must be None if `data` is `Moments`. Pass the labels to "
            "`Moments.from_data(data, labels)`."
        )
    return data


def known_width(data: Any, default: int) -> int:
    """Return the number of features if it is known before the data are read, else `default`."""
    if isinstance(data, tuple) and data:
        data = data[0]
    shape = getattr(data, "shape", None)
    try:
        return int(shape[-1]) if shape is not None and len(shape) > 1 else default
    except (TypeError, ValueError):
        # Symbolic shapes, and unknown sizes of dask arrays.
        return default


def _checked_rank(rank: int | None, in_dim: int, count: int) -> int:
    if count < 2:
        raise ValueError(f"A covariance needs at least two samples. Received: {count}")
    return (
        min(in_dim, count - 1)
        if rank is None
        else check_rank(rank, in_dim, "the number of features")
    )


def _check_scales(variances: np.ndarray, rank: int) -> None:
    """Warn if one feature holds nearly all variance, as where units differ."""
    if rank == len(variances):
        return
    largest, total = float(variances.max()), float(variances.sum())
    if largest > _ONE_FEATURE * total:
        warnings.warn(
            f"Feature {int(variances.argmax())} of {len(variances)} holds {largest / total:.1%} of "
            "the variance, so the first principal component is almost this feature alone. If the "
            "features have different units, scale them first, for example with "
            "`keras.layers.Normalization`.",
            stacklevel=3,
        )


def _small_sample(data: Any) -> np.ndarray | None:
    labels = None
    if isinstance(data, tuple) and len(data) in (1, 2, 3):
        data, labels = data[0], data[1] if len(data) > 1 else None
    if not (is_array(data) or is_frame(data)) or is_lazy(data):
        return None
    if labels is not None and len(labels) != len(data):
        # Reading the data raises the error for this.
        return None
    shape = tuple(data.shape)
    if len(shape) < 2 or not 2 <= np.prod(shape[:-1]) < shape[-1]:
        return None
    ((rows, _),) = labelled_batches(data, batch_size=shape[0])
    return rows.reshape(-1, shape[-1])


def _through_gram(rows: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    n, in_dim = rows.shape
    check_finite(rows, "an array")
    mean = rows.mean(axis=0, dtype=np.float64)
    blocks = [slice(i, i + _COLUMNS) for i in range(0, in_dim, _COLUMNS)]
    gram = np.zeros((n, n))
    for block in blocks:
        centered = rows[:, block] - mean[block]
        gram += centered @ centered.T
    total = float(np.trace(gram)) / (n - 1)
    values, left = leading_eigenpairs(gram, min(rank, n - 1))
    # Centering leaves at most n - 1 directions; those without variance give no vector.
    values = values[values > n * np.finfo(np.float64).eps * max(values[0], 0.0)]
    vectors = np.empty((in_dim, len(values)))
    for block in blocks:
        vectors[block] = (rows[:, block] - mean[block]).T @ (left[:, : len(values)])
    vectors = np.linalg.qr(vectors / np.sqrt(values))[0]
    vectors = complete(fix_signs(vectors), rank)
    padded = np.zeros(rank)
    padded[: len(values)] = values / (n - 1)
    return padded, vectors, mean, total
