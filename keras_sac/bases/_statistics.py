"""`with_statistics`: add statistics of data to a basis that was made without data."""

import dataclasses

import numpy as np

from keras_sac.bases._basis import Basis
from keras_sac.bases._moments import Moments


def with_statistics(basis: Basis, moments: Moments) -> Basis:
    """Return a basis with the statistics of data along its columns.

    `variances = diag(Bᵀ Cov B)`, mean, total variance and number of samples. They set the scale
    with which a SAC layer draws its learner. Bases computed from data have them already.

    Args:
        basis: any basis, for example from `random_orthogonal` or `dct`.
        moments: moments of data of the same width.

    Returns:
        A new `Basis` with the same matrix, kind and spectrum.

    Raises:
        ValueError: if the widths differ, or there are fewer than two samples.

    Examples:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(50, 6)) * [5, 1, 1, 1, 1, 1]
        >>> basis = with_statistics(Basis(np.eye(6)[:, :1]), Moments.from_data(x, verbose=0))
        >>> bool(basis.explained_variance_ratio[0] > 0.7)
        True
    """
    if moments.in_dim != basis.in_dim:
        raise ValueError(
            f"`moments` must be of data of width {basis.in_dim}, as the basis. Received: moments "
            f"of width {moments.in_dim}"
        )
    matrix = basis.matrix.astype(np.float64)
    return dataclasses.replace(
        basis,
        mean=moments.mean,
        variances=np.einsum("ir,ir->r", matrix, moments.covariance @ matrix),
        total_variance=moments.total_variance,
        n_samples=moments.count,
    )
