"""Compare the cost of two thin products with the cost of one product with the kernel."""

import math
from collections.abc import Sequence


def factored_is_cheaper(
    rows: int | None, in_dim: int, rank: int, units: int, *, spread: float = 1.0
) -> bool:
    """Return whether `(x B) L` needs no more multiplications than `x (B L)`.

    `rows rank (spread in_dim + units)` against `in_dim rank units + rows in_dim units`.

    Args:
        rows: of the learner's product. An unknown number of rows, `None`, counts as large.
        in_dim: rows of the basis.
        rank: columns of the basis.
        units: columns of the learner.
        spread: rows of the basis' product for each row of the learner's.
    """
    factored = rank * (spread * in_dim + units)
    merged = in_dim * units
    if rows is None:
        return factored <= merged
    return rows * factored <= in_dim * rank * units + rows * merged


def rows_of(shape: Sequence[int | None]) -> int | None:
    """Return the product of the sizes; `None` if one is unknown or a symbol that torch traces."""
    return math.prod(shape) if all(isinstance(size, int) for size in shape) else None  # type: ignore[arg-type]
