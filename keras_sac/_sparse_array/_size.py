"""How many bytes an array takes, and how many it has to."""

import json
import math

import numpy as np

from keras_sac._sparse_array._codec import encode


def encoded_size(array: np.ndarray) -> int:
    """Return the bytes that an array takes in a sparse file, with its row in the table.

    Args:
        array: of any shape and any type but objects and structures.

    Returns:
        Bytes.

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
    """Return what random positions and incompressible values take at least.

    `(n H(s) + 8 itemsize nnz) / 8` with `s = 1 - nnz / n`,
    `H(s) = -s log2 s - (1 - s) log2 (1 - s)`.

    Args:
        size: elements `n` of the array, >= 0.
        nonzeros: those that are not zero, `nnz`, in [0, size].
        itemsize: bytes of a value, >= 1.

    Returns:
        Bytes, not rounded.

    Raises:
        ValueError: if there are more non-zeros than elements, or a number is out of range.

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
    shares = [count / size for count in (nonzeros, size - nonzeros) if count]
    bits = -size * sum(share * math.log2(share) for share in shares)
    return bits / 8 + itemsize * nonzeros
