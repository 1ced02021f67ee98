"""Linear discriminant bases: Fisher's directions, alone or followed by principal components."""

from typing import Any

import numpy as np

from keras_sac.bases._basis import Basis, check_rank
from keras_sac.bases._fisher import fisher_directions
from keras_sac.bases._linalg import leading_eigenpairs
from keras_sac.bases._moments import Moments
from keras_sac.bases._pca import as_moments, known_width


def lda(
    data_or_moments: Any,
    labels: Any = None,
    rank: int | None = None,
    *,
    shrinkage: float | None = None,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Return orthonormal columns that span the leading discriminant directions of the classes.

    `S_b v = λ S_w v`, with the scatter `S_b` of the class means and the scatter `S_w` within the
    classes. There are at most `classes - 1` directions. They are orthonormalised in order, so the
    leading `k` columns span the leading `k` directions, but each column after the first is the
    part of its direction that the ones before it do not contain.

    If `S_w` is singular (constant or dependent features, fewer samples than features), a
    millionth of the mean variance is added to its diagonal, times the smallest power of ten that
    makes it positive definite.

    Args:
        data_or_moments: `Moments` with classes, or data as for `Moments.from_data`.
        labels: a class for each sample, where the data bring none.
        rank: number of columns, `1 <= rank <= classes - 1`; `None` takes all.
        shrinkage: `S_w` becomes `(1 - s) S_w + s trace(S_w) / in_dim I`, `0 <= s <= 1`.
        batch_size: rows read at once from an array.
        verbose: `0` is silent; `"auto"` and `1` show a progress bar on long passes.

    Returns:
        A `Basis` of kind `"lda"`; `spectrum` holds the Fisher ratios `λ`.

    Raises:
        ValueError: without labels, with a single class, with `rank > classes - 1` or above the
            number of directions in which the class means differ.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> y = np.arange(300) % 3
        >>> x[:, 1] += 5 * y
        >>> basis = lda(x, y, rank=1)
        >>> int(np.argmax(np.abs(basis.matrix[:, 0])))
        1

    Reference:
        Fisher, 1936, "The Use of Multiple Measurements in Taxonomic Problems"; Friedman, 1989,
        "Regularized Discriminant Analysis".
    """
    _refuse_rank_below_one(rank)
    moments = as_moments(
        data_or_moments, labels, use_labels=True, batch_size=batch_size, verbose=verbose
    )
    _check_against_classes(rank, moments)
    covariance = moments.covariance
    directions, ratios = fisher_directions(moments, covariance, shrinkage)
    usable = directions.shape[1]
    rank = usable if rank is None else check_rank(rank, usable, "directions the class means span")
    return _basis("lda", directions[:, :rank], ratios[:rank], moments, covariance)


def lda_pca(
    data_or_moments: Any,
    labels: Any = None,
    rank: int | None = None,
    *,
    shrinkage: float | None = None,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Return the discriminant directions, then the principal components of what they leave.

    With `Q` the columns of `lda`, the further columns are the leading eigenvectors of
    `(I - Q Qᵀ) Cov (I - Q Qᵀ)`. All columns are orthonormal.

    Args:
        data_or_moments: `Moments` with classes, or data as for `Moments.from_data`.
        labels: a class for each sample, where the data bring none.
        rank: number of columns, `1 <= rank <= in_dim`; `None` takes `min(in_dim, n - 1)`. A rank
            below the number of discriminant directions keeps the leading ones of them.
        shrinkage: as for `lda`.
        batch_size: rows read at once from an array.
        verbose: `0` is silent; `"auto"` and `1` show a progress bar on long passes.

    Returns:
        A `Basis` of kind `"lda_pca"`; `spectrum` holds the Fisher ratios of the discriminant
        columns, then the eigenvalues of the others.

    Raises:
        ValueError: without labels, with a single class, or with a rank out of range.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> y = np.arange(300) % 3
        >>> x[:, 1] += 5 * y
        >>> basis = lda_pca(x, y, rank=3)
        >>> bool(np.allclose(basis.matrix.T @ basis.matrix, np.eye(3), atol=1e-6))
        True
    """
    _refuse_rank_below_one(rank)
    if rank is not None and not isinstance(data_or_moments, Moments):
        check_rank(rank, known_width(data_or_moments, rank), "features")
    moments = as_moments(
        data_or_moments, labels, use_labels=True, batch_size=batch_size, verbose=verbose
    )
    in_dim = moments.in_dim
    rank = (
        min(in_dim, max(moments.count - 1, 1))
        if rank is None
        else check_rank(rank, in_dim, "features")
    )
    covariance = moments.covariance
    directions, ratios = fisher_directions(moments, covariance, shrinkage)
    directions, ratios = directions[:, :rank], ratios[:rank]
    missing = rank - directions.shape[1]
    if missing:
        values, vectors = leading_eigenpairs(_residual(covariance, directions), missing)
        # Rounding in the eigenvectors is removed so that all columns are orthonormal together.
        vectors -= directions @ (directions.T @ vectors)
        directions = np.concatenate([directions, vectors], axis=1)
        ratios = np.concatenate([ratios, np.maximum(values, 0.0)])
    return _basis("lda_pca", directions, ratios, moments, covariance)


def _residual(covariance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    image = covariance @ directions
    cross = (image - 0.5 * directions @ (directions.T @ image)) @ directions.T
    residual = covariance - cross - cross.T
    # The directions themselves are pushed below zero, so that no null vector can be one of them.
    residual -= np.diagonal(covariance).max() * (directions @ directions.T)
    return residual


def _basis(
    kind: str,
    columns: np.ndarray,
    spectrum: np.ndarray,
    moments: Moments,
    covariance: np.ndarray,
) -> Basis:
    variances = np.einsum("ij,ij->j", columns, covariance @ columns)
    return Basis(
        columns,
        kind=kind,
        mean=moments.mean,
        spectrum=spectrum,
        variances=np.maximum(variances, 0.0),
        total_variance=moments.total_variance,
        n_samples=moments.count,
    )


def _refuse_rank_below_one(rank: Any) -> None:
    if rank is not None:
        check_rank(rank, np.iinfo(np.int64).max, "features")


def _check_against_classes(rank: int | None, moments: Moments) -> None:
    if rank is not None and moments.classes is not None and rank > len(moments.classes) - 1 > 0:
        raise ValueError(
            f"LDA of {len(moments.classes)} classes has at most {len(moments.classes) - 1} "
            f"directions; received rank={rank}. Use `lda_pca` for more columns."
        )
