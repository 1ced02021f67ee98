"""Principal components of data or of their moments."""

from typing import Any

import numpy as np

from keras_sac._model import is_array, is_frame, is_lazy, to_numpy
from keras_sac.bases._basis import Basis, check_rank
from keras_sac.bases._batch_sums import check_finite
from keras_sac.bases._linalg import complete, fix_signs, leading_eigenpairs
from keras_sac.bases._moments import Moments, read_moments

# Eigenvalues below this share of the largest are rounding of single-precision products.
RESOLUTION = float(np.finfo(np.float32).eps)
# Columns of the data that the small-sample case centres at once.
_COLUMNS = 4096


def pca(
    data_or_moments: Any,
    rank: int | None = None,
    *,
    whiten: bool = False,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Return the principal components of the data: the leading eigenvectors of the covariance.

    `Cov v = λ v`, `λ₁ >= λ₂ >= ...`; the columns are orthonormal, or `v / √λ` with `whiten`, so
    that the projections of the data have variance 1. The largest entry in magnitude of a column is
    positive (the first of those within a thousandth of it), so signs do not depend on the machine.

    An array with fewer samples than features is solved through the Gram matrix of its centred
    samples, `(n, n)` instead of `(in_dim, in_dim)`; moments and iterables through the covariance.
    Columns beyond the data's own directions (constant features, `rank >= n`) complete the basis
    and have variance 0.

    Args:
        data_or_moments: `Moments`, or data as for `Moments.from_data`; labels in it are not used.
            The last axis holds the features: flatten images first if a pixel is a feature.
        rank: number of columns, `1 <= rank <= in_dim`; `None` takes as many as can have variance,
            `min(in_dim, n - 1)`.
        whiten: divide each column by its standard deviation.
        batch_size: rows read at once from an array.
        verbose: `0` is silent; `"auto"` and `1` show a progress bar on long passes.

    Returns:
        A `Basis` of kind `"pca"` or `"pca_whitened"`; `spectrum` holds the eigenvalues.

    Raises:
        ValueError: if `rank` is out of range, the data are empty or not finite, there is only one
            sample, or `whiten` is asked for directions without variance.

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
    rows = _small_sample(data_or_moments)
    if rows is not None:
        rank = _checked_rank(rank, rows.shape[1], len(rows))
        values, vectors, mean, total = _through_gram(rows, rank)
        count = len(rows)
    else:
        if rank is not None and not isinstance(data_or_moments, Moments):
            check_rank(rank, known_width(data_or_moments, rank), "features")
        moments = as_moments(data_or_moments, batch_size=batch_size, verbose=verbose)
        rank = _checked_rank(rank, moments.in_dim, moments.count)
        values, vectors = leading_eigenpairs(moments.covariance, rank)
        mean, total, count = moments.mean, moments.total_variance, moments.count
    values = np.maximum(values, 0.0)
    variances = values
    if whiten:
        usable = int(np.count_nonzero(values > RESOLUTION * values[0]))
        if usable < rank:
            raise ValueError(
                f"Only {usable} of the {rank} directions asked for have a variance that is not "
                "lost in rounding (constant or linearly dependent features): the others cannot be "
                f"whitened. Use {f'rank <= {usable}' if usable else 'data that vary'}, or "
                "whiten=False."
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
    data_or_moments: Any,
    labels: Any = None,
    *,
    use_labels: bool = False,
    batch_size: int,
    verbose: str | int,
) -> Moments:
    """Return the moments that were given, or those of the data that were given."""
    if not isinstance(data_or_moments, Moments):
        return read_moments(
            data_or_moments, labels, use_labels=use_labels, batch_size=batch_size, verbose=verbose
        )
    if labels is not None:
        raise ValueError(
            "Labels cannot be added to Moments afterwards. Give them to "
            "`Moments.from_data(data, labels)`."
        )
    return data_or_moments


def known_width(data: Any, default: int) -> int:
    """Return the number of features where the data tell it before they are read."""
    if isinstance(data, tuple) and data:
        data = data[0]
    shape = getattr(data, "shape", None)
    try:
        return int(shape[-1]) if shape is not None and len(shape) > 1 else default
    except (TypeError, ValueError):
        # Symbolic shapes, and dask's unknown ones.
        return default


def _checked_rank(rank: int | None, in_dim: int, count: int) -> int:
    if count < 2:
        raise ValueError(f"A covariance needs at least two samples; received {count}.")
    return min(in_dim, count - 1) if rank is None else check_rank(rank, in_dim, "features")


def _small_sample(data: Any) -> np.ndarray | None:
    labels = None
    if isinstance(data, tuple) and len(data) in (1, 2, 3):
        data, labels = data[0], data[1] if len(data) > 1 else None
    if not (is_array(data) or is_frame(data)) or is_lazy(data):
        return None
    if labels is not None and len(labels) != len(data):
        # Refused with the others, where the data are read.
        return None
    shape = tuple(data.shape)
    if len(shape) < 2 or not 2 <= np.prod(shape[:-1]) < shape[-1]:
        return None
    return to_numpy(data).reshape(-1, shape[-1])


def _through_gram(rows: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    n, in_dim = rows.shape
    check_finite(rows, "the data")
    mean = rows.mean(axis=0, dtype=np.float64)
    blocks = [slice(i, i + _COLUMNS) for i in range(0, in_dim, _COLUMNS)]
    gram = np.zeros((n, n))
    for block in blocks:
        centred = rows[:, block] - mean[block]
        gram += centred @ centred.T
    total = float(np.trace(gram)) / (n - 1)
    values, left = leading_eigenpairs(gram, min(rank, n - 1))
    # Centring leaves at most n - 1 directions; of those without variance no vector can be made.
    values = values[values > n * np.finfo(np.float64).eps * max(values[0], 0.0)]
    vectors = np.empty((in_dim, len(values)))
    for block in blocks:
        vectors[block] = (rows[:, block] - mean[block]).T @ (left[:, : len(values)])
    vectors = np.linalg.qr(vectors / np.sqrt(values))[0]
    vectors = complete(fix_signs(vectors), rank)
    padded = np.zeros(rank)
    padded[: len(values)] = values / (n - 1)
    return padded, vectors, mean, total
