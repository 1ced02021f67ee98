"""`dct`: the cosine basis of a grid, lowest frequencies first."""

import math
from collections.abc import Sequence

import numpy as np

from keras_sac.bases._basis import Basis, check_rank


def dct(input_shape: int | Sequence[int], rank: int) -> Basis:
    """Compute the orthonormal DCT-II basis of a grid of any dimension, lowest frequencies first.

    On an axis of length `n`, `b_k(i) = √(2 / n) cos(π k (i + ½) / n)`, `b_0(i) = 1 / √n`; on a
    grid, the products of these. The columns are ordered by total frequency `Σ_a k_a / n_a`, like
    the diagonals of a zig-zag, and columns of equal frequency by their index on the first axis.
    The basis needs no data. For natural images it is close to PCA.

    Args:
        input_shape: lengths of the axes, without the batch axis: `(n,)`, `(height, width)`,
            `(height, width, channels)`, ... The channel axis is transformed, too: its first
            function is the mean of the channels, so brightness comes before color.
        rank: number of columns, between 1 and the product of `input_shape`.

    Returns:
        A `Basis` of kind `"dct"` for inputs flattened in C order, as by `keras.layers.Flatten`.

    Raises:
        ValueError: if `input_shape` does not hold positive integers, or `rank` is out of range.

    Examples:
        >>> basis = dct((8, 8), rank=3)
        >>> image = basis.matrix[:, 1].reshape(8, 8)
        >>> bool(abs(image - image[0]).max() < 1e-6)
        True

    Reference:
        Ahmed, Natarajan & Rao, 1974, "Discrete Cosine Transform".
    """
    shape = _checked_shape(input_shape)
    rank = check_rank(rank, math.prod(shape), "the product of `input_shape`")
    index = np.indices(shape).reshape(len(shape), -1)
    # In integers, so that equal frequencies are exactly equal; a stable sort keeps their C order.
    common = math.lcm(*shape)
    frequency = sum(k * (common // n) for k, n in zip(index, shape, strict=True))
    chosen = index[:, np.argsort(frequency, kind="stable")[:rank]]
    columns = np.ones((1, rank))
    for k, n in zip(chosen, shape, strict=True):
        columns = (columns[:, None, :] * _cosines(n, k)[None, :, :]).reshape(-1, rank)
    return Basis(columns, kind="dct")


def _cosines(n: int, k: np.ndarray) -> np.ndarray:
    table = np.cos(np.pi / n * (np.arange(n)[:, None] + 0.5) * k[None, :])
    return table * np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n))


def _checked_shape(input_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(np.atleast_1d(np.asarray(input_shape, dtype=object)).tolist())
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in shape)
    if not shape or not whole or min(shape) < 1:
        raise ValueError(
            "`input_shape` must be positive integers, such as (length,), (height, width) or "
            f"(height, width, channels), without the batch axis. Received: input_shape="
            f"{input_shape!r}"
        )
    return tuple(int(n) for n in shape)
