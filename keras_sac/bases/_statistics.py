"""What is known of the data along a basis that was not made from them."""

import dataclasses

import numpy as np

from keras_sac.bases._basis import Basis
from keras_sac.bases._moments import Moments


def with_statistics(basis: Basis, moments: Moments) -> Basis:
    """Return the same basis with the statistics of the data along its columns.

    `variances = diag(Bᵀ Cov B)`, with mean, total variance and number of samples. A SAC layer draws
    its learner with the scale that they give; bases made from data have them from the start.

    Args:
        basis: any basis, such as `random_orthogonal` or `dct` make.
        moments: moments of the data, of the same width.

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
            f"The basis is for inputs of width {basis.in_dim}; the moments are of data of width "
            f"{moments.in_dim}. Take both from the same data."
        )
    matrix = basis.matrix.astype(np.float64)
    return dataclasses.replace(
        basis,
        mean=moments.mean,
        variances=np.einsum("ir,ir->r", matrix, moments.covariance @ matrix),
        total_variance=moments.total_variance,
        n_samples=moments.count,
    )
