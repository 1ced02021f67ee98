"""Random orthonormal columns."""

import numbers

import numpy as np

from keras_sac.bases._basis import Basis, check_rank


def random_orthogonal(in_dim: int, rank: int, seed: int) -> Basis:
    """Return orthonormal columns drawn uniformly (from the Haar measure).

    `G = Q R` with `G` standard Gaussian and the diagonal of `R` made positive, which makes `Q`
    unique and uniform. NumPy's generator draws `G`: the same seed gives the same basis on every
    backend and machine, up to rounding.

    Args:
        in_dim: number of rows, at least 1.
        rank: number of columns, `1 <= rank <= in_dim`.
        seed: a non-negative integer; kept in the basis.

    Returns:
        A `Basis` of kind `"random"`.

    Raises:
        ValueError: if a number is out of range or no integer.

    Examples:
        >>> random_orthogonal(16, 4, seed=0).matrix.shape
        (16, 4)

    Reference:
        Mezzadri, 2007, "How to Generate Random Matrices from the Classical Compact Groups";
        Li et al., 2018, "Measuring the Intrinsic Dimension of Objective Landscapes".
    """
    in_dim = check_rank(in_dim, np.iinfo(np.int64).max, "rows that can be indexed", name="in_dim")
    rank = check_rank(rank, in_dim, "rows")
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise ValueError(f"`seed` must be a non-negative integer; received {seed!r}.")
    gaussian = np.random.default_rng(int(seed)).standard_normal((in_dim, rank))
    q, r = np.linalg.qr(gaussian)
    return Basis(q * np.where(np.diagonal(r) < 0, -1.0, 1.0), kind="random", seed=int(seed))
