"""Store values byte plane by byte plane, so that similar exponents are compressed together."""

from collections.abc import Iterator

import numpy as np

# Bytes of the widest number. Wider dtypes are text: they have no exponents, and zeros stay in.
WIDEST = 32
# A plane of this many bytes is one block of zstd.
_CHUNK = 2**17


def to_planes(values: np.ndarray) -> Iterator[bytes]:
    """Yield, for each chunk, the first bytes of its values, then the second bytes, and so on.

    Args:
        values: C-contiguous array of shape `(n,)`.
    """
    width = values.dtype.itemsize
    rows = values.view(np.uint8).reshape(-1, width)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        if width > WIDEST:
            yield chunk.tobytes()
        else:
            yield from (plane.tobytes() for plane in chunk.T)


def lengths_of_chunks(count: int, dtype: np.dtype) -> Iterator[int]:
    """Yield the number of bytes of each chunk of `count` values."""
    for start in range(0, count, _CHUNK):
        yield min(_CHUNK, count - start) * dtype.itemsize


def from_planes(planes: bytes, dtype: np.dtype) -> np.ndarray:
    """Return the values of one chunk."""
    rows = np.frombuffer(planes, np.uint8)
    if dtype.itemsize <= WIDEST:
        rows = np.ascontiguousarray(rows.reshape(dtype.itemsize, -1).T).reshape(-1)
    return rows.view(dtype)


def nonzero(values: np.ndarray) -> np.ndarray:
    """Return a boolean array that marks the nonzero values; -0.0 is zero, NaN is not."""
    dtype = values.dtype
    if dtype.kind in "biufc" or dtype.isbuiltin == 2:
        # NumPy warns about a signalling NaN, which is a value like any other here.
        with np.errstate(invalid="ignore"):
            return np.not_equal(values, np.zeros((), dtype))
    return np.asarray(values.view(np.uint8).reshape(-1, dtype.itemsize).any(axis=1))


def to_float16(values: np.ndarray) -> np.ndarray:
    """Convert floats wider than float16 to float16; return other values unchanged.

    Raises:
        ValueError: if a finite value is too large for float16.
    """
    if values.dtype.kind != "f" or values.dtype.itemsize <= 2:
        return values
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        half = values.astype("<f2")
    lost = np.isfinite(values) & ~np.isfinite(half)
    if lost.any():
        raise ValueError(
            f"{np.count_nonzero(lost)} of {values.size} values are too large for float16, whose "
            f"largest value is 65504; the largest is {np.abs(values[lost]).max():g}. Pass "
            "`values=None` to keep the values as they are."
        )
    return half
