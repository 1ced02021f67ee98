"""`random_orthogonal`: a basis of random orthonormal columns."""

import numpy as np

from keras_sac._arguments import drawn_seed, integer
from keras_sac.bases._basis import Basis, check_rank


def random_orthogonal(in_dim: int, rank: int, seed: int | None = None) -> Basis:
    """Draw a basis with orthonormal columns uniformly (from the Haar measure).

    `G = Q R` with `G` standard Gaussian and the diagonal of `R` made positive, which makes `Q`
    unique and uniform. NumPy's generator draws `G`, so the same seed gives the same basis on every
    backend and machine, up to rounding.

    Args:
        in_dim: number of rows, an integer >= 1.
        rank: number of columns, between 1 and `in_dim`.
        seed: integer >= 0, which `basis.seed` keeps. Defaults to a drawn one, which
            `keras.utils.set_random_seed` makes repeatable.

    Returns:
        A `Basis` of kind `"random"`.

    Raises:
        ValueError: if an argument is out of range or not an integer.

    Examples:
        >>> random_orthogonal(16, 4, seed=0).matrix.shape
        (16, 4)

    Reference:
        Mezzadri, 2007, "How to Generate Random Matrices from the Classical Compact Groups";
        Li et al., 2018, "Measuring the Intrinsic Dimension of Objective Landscapes".
    """
    in_dim = integer("in_dim", in_dim, 1)
    rank = check_rank(rank, in_dim, "`in_dim`")
    seed = drawn_seed(seed)
    gaussian = np.random.default_rng(seed).standard_normal((in_dim, rank))
    q, r = np.linalg.qr(gaussian)
    return Basis(q * np.where(np.diagonal(r) < 0, -1.0, 1.0), kind="random", seed=seed)
