"""`lda` and `lda_pca`: Fisher's discriminant directions, alone or before principal components."""

import numbers
from typing import Any

import numpy as np

from keras_sac.bases._basis import Basis, check_rank, rank_number
from keras_sac.bases._fisher import fisher_directions
from keras_sac.bases._linalg import leading_eigenpairs
from keras_sac.bases._moments import Moments
from keras_sac.bases._pca import as_moments, known_width

_MORE_COLUMNS = "For more columns use `bases.lda_pca`."


def lda(
    data: Any,
    labels: Any = None,
    rank: int | None = None,
    *,
    shrinkage: float | None = None,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Compute a basis from linear discriminant analysis.

    Solves `S_b v = λ S_w v`, with the scatter `S_b` of the class means and the scatter `S_w` within
    the classes, which has at most `n_classes - 1` solutions. The directions `v` are
    orthonormalized in order: the leading `k` columns span the leading `k` directions, and each
    column is the part of its direction that the columns before it do not contain.

    If `S_w` is singular (constant or dependent features, fewer samples than features), a multiple
    of the identity is added: a millionth of the mean variance, times the smallest power of ten
    that makes `S_w` positive definite.

    Args:
        data: `Moments` with classes, or data as for `Moments.from_data`.
        labels: one class per sample. Required unless `data` yields labels.
        rank: number of columns, between 1 and `n_classes - 1`. Defaults to all directions.
        shrinkage: number between 0 and 1: `S_w` becomes `(1 - s) S_w + s trace(S_w) / in_dim I`.
            Defaults to no shrinkage.
        batch_size: rows per batch, for arrays.
        verbose: `"auto"`, 0, 1 or 2. 0 is silent; the others show a progress bar if the pass takes
            longer than two seconds.

    Returns:
        A `Basis` of kind `"lda"`; `spectrum` holds the Fisher ratios `λ`.

    Raises:
        ValueError: if there are no labels or only one class, or `rank` is above `n_classes - 1` or
            above the number of directions in which the class means differ.

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
    rank = None if rank is None else rank_number(rank)
    _check_labels(labels)
    moments = as_moments(data, labels, use_labels=True, batch_size=batch_size, verbose=verbose)
    _check_against_classes(rank, moments)
    covariance = moments.covariance
    directions, ratios = fisher_directions(moments, covariance, shrinkage)
    usable = directions.shape[1]
    if rank is None:
        rank = usable
    check_rank(rank, usable, "the directions in which the class means differ", _MORE_COLUMNS)
    return _basis("lda", directions[:, :rank], ratios[:rank], moments, covariance)


def lda_pca(
    data: Any,
    labels: Any = None,
    rank: int | None = None,
    *,
    shrinkage: float | None = None,
    batch_size: int = 8192,
    verbose: str | int = "auto",
) -> Basis:
    """Compute a basis of discriminant directions, followed by principal components of the rest.

    With `Q` the columns of `lda`, the other columns are the leading eigenvectors of
    `(I - Q Qᵀ) Cov (I - Q Qᵀ)`. All columns are orthonormal.

    Args:
        data: `Moments` with classes, or data as for `Moments.from_data`.
        labels: one class per sample. Required unless `data` yields labels.
        rank: number of columns, between 1 and `in_dim`. Defaults to `min(in_dim, n - 1)`. A rank
            below the number of discriminant directions keeps the leading ones.
        shrinkage: as in `lda`.
        batch_size: rows per batch, for arrays.
        verbose: `"auto"`, 0, 1 or 2. 0 is silent; the others show a progress bar if the pass takes
            longer than two seconds.

    Returns:
        A `Basis` of kind `"lda_pca"`; `spectrum` holds the Fisher ratios of the discriminant
        columns, then the eigenvalues of the others.

    Raises:
        ValueError: if there are no labels or only one class, or `rank` is out of range.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> y = np.arange(300) % 3
        >>> x[:, 1] += 5 * y
        >>> basis = lda_pca(x, y, rank=3)
        >>> bool(np.allclose(basis.matrix.T @ basis.matrix, np.eye(3), atol=1e-6))
        True
    """
    rank = None if rank is None else rank_number(rank)
    _check_labels(labels)
    if rank is not None and not isinstance(data, Moments):
        check_rank(rank, known_width(data, rank), "the number of features")
    moments = as_moments(data, labels, use_labels=True, batch_size=batch_size, verbose=verbose)
    in_dim = moments.in_dim
    rank = (
        min(in_dim, max(moments.count - 1, 1))
        if rank is None
        else check_rank(rank, in_dim, "the number of features")
    )
    covariance = moments.covariance
    directions, ratios = fisher_directions(moments, covariance, shrinkage)
    directions, ratios = directions[:, :rank], ratios[:rank]
    missing = rank - directions.shape[1]
    if missing:
        values, vectors = leading_eigenpairs(_residual(covariance, directions), missing)
        # Rounding in the eigenvectors is removed, so that all columns together are orthonormal.
        vectors -= directions @ (directions.T @ vectors)
        directions = np.concatenate([directions, vectors], axis=1)
        ratios = np.concatenate([ratios, np.maximum(values, 0.0)])
    return _basis("lda_pca", directions, ratios, moments, covariance)


def _residual(covariance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    image = covariance @ directions
    cross = (image - 0.5 * directions @ (directions.T @ image)) @ directions.T
    residual = covariance - cross - cross.T
    # The eigenvalues of the directions are moved below zero, so that no null vector is one of them.
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


def _check_labels(labels: Any) -> None:
    """Raise if `labels` is a number, as in `lda(moments, 2)`."""
    if isinstance(labels, numbers.Integral):
        raise ValueError(
            f"`labels` must have one class per sample. Received: labels={labels!r}. If it is the "
            f"number of columns, pass it by name: `rank={labels!r}`."
        )


def _check_against_classes(rank: int | None, moments: Moments) -> None:
    # Labels that are missing or all equal have their own error.
    if rank is not None and moments.classes is not None and len(moments.classes) > 1:
        check_rank(rank, len(moments.classes) - 1, "`n_classes - 1`", _MORE_COLUMNS)
