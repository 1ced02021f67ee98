"""Compute the encoded size of an array, and its lower bound."""

import json
import math

import numpy as np

from keras_sac._sparse_array._codec import encode


def encoded_size(array: np.ndarray) -> int:
    """Return the bytes of an array in a sparse file, including its row in the table.

    Args:
        array: array of any shape and any dtype except objects and structures.

    Returns:
        Number of bytes.

    Raises:
        ValueError: if the array holds objects or structures.

    Examples:
        >>> import numpy as np
        >>> encoded_size(np.zeros((1000, 1000), "float32")) < 300
        True
    """
    encoded = encode(array)
    row = json.dumps(encoded.header.to_json(), separators=(",", ":"))
    return sum(encoded.header.frames) + len(row)


def entropy_bound(size: int, nonzeros: int, itemsize: int) -> float:
    """Return the minimal number of bytes for random positions and incompressible values.

    `(n H(s) + 8 itemsize nnz) / 8` with `s = 1 - nnz / n`,
    `H(s) = -s log2 s - (1 - s) log2 (1 - s)`.

    Args:
        size: number `n` of elements, >= 0.
        nonzeros: number `nnz` of nonzero elements, in [0, size].
        itemsize: bytes of one value, >= 1.

    Returns:
        Number of bytes, not rounded.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> entropy_bound(1000, 500, 4)
        2125.0

    Reference:
        Shannon, 1948, "A Mathematical Theory of Communication".
    """
    if not (0 <= nonzeros <= size and itemsize >= 1):
        raise ValueError(
            "Expected 0 <= nonzeros <= size and itemsize >= 1. "
            f"Received: size={size!r}, nonzeros={nonzeros!r}, itemsize={itemsize!r}"
        )
    fractions = [count / size for count in (nonzeros, size - nonzeros) if count]
    bits = -size * sum(fraction * math.log2(fraction) for fraction in fractions)
    return bits / 8 + itemsize * nonzeros
