"""`with_statistics`: add statistics of data to a basis that was made without data."""

import dataclasses
from typing import Any

import numpy as np

from keras_sac.bases._basis import Basis
from keras_sac.bases._pca import as_moments


def with_statistics(
    basis: Basis | Any, data: Any, *, batch_size: int = 8192, verbose: str | int = "auto"
) -> Basis:
    """Return a basis with the statistics of data along its columns.

    `variances = diag(Bᵀ Cov B)`, mean, total variance and number of samples. They set the scale
    with which a SAC layer draws its learner. Bases computed from data have them already.

    Args:
        basis: any basis, for example from `random_orthogonal` or `dct`; or a matrix, as for
            `Basis.from_matrix`.
        data: `Moments`, or data as for `Moments.from_data`, of the width of the basis.
        batch_size: rows per batch, for arrays.
        verbose: `"auto"`, 0, 1 or 2. 0 is silent; the others show a progress bar if the pass takes
            longer than two seconds.

    Returns:
        A new `Basis` with the same matrix, kind and spectrum.

    Raises:
        ValueError: if the widths differ, or there are fewer than two samples.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 6)) * [5, 1, 1, 1, 1, 1]
        >>> basis = with_statistics(Basis(np.eye(6)[:, :1]), x)
        >>> bool(basis.explained_variance_ratio[0] > 0.7)
        True
    """
    if not isinstance(basis, Basis):
        basis = Basis.from_matrix(basis)
    moments = as_moments(data, batch_size=batch_size, verbose=verbose)
    if moments.in_dim != basis.in_dim:
        raise ValueError(
            f"`data` must have {basis.in_dim} features, as the basis. Received: data of "
            f"{moments.in_dim} features"
        )
    matrix = basis.matrix.astype(np.float64)
    return dataclasses.replace(
        basis,
        mean=moments.mean,
        variances=np.einsum("ir,ir->r", matrix, moments.covariance @ matrix),
        total_variance=moments.total_variance,
        n_samples=moments.count,
    )
