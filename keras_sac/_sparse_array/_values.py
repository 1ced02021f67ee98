"""What the values are: byte by byte, so that the exponents stand together."""

from collections.abc import Iterator

import numpy as np

# Numbers are at most so wide. What is wider is text: no exponents, and no zeros to leave out.
WIDEST = 32
# A plane of so many bytes is one block of zstd.
_CHUNK = 2**17


def to_planes(values: np.ndarray) -> Iterator[bytes]:
    """Yield the first bytes of the values, then the second ones, ..., chunk by chunk.

    Args:
        values: shape `(n,)`, C-contiguous.
    """
    width = values.dtype.itemsize
    rows = values.view(np.uint8).reshape(-1, width)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        if width > WIDEST:
            yield chunk.tobytes()
        else:
            yield from (plane.tobytes() for plane in chunk.T)


def lengths(count: int, dtype: np.dtype) -> Iterator[int]:
    """Yield the bytes of each chunk of `count` values."""
    for start in range(0, count, _CHUNK):
        yield min(_CHUNK, count - start) * dtype.itemsize


def from_planes(planes: bytes, dtype: np.dtype) -> np.ndarray:
    """Return the values of one chunk."""
    rows = np.frombuffer(planes, np.uint8)
    if dtype.itemsize <= WIDEST:
        rows = np.ascontiguousarray(rows.reshape(dtype.itemsize, -1).T).reshape(-1)
    return rows.view(dtype)


def used(values: np.ndarray) -> np.ndarray:
    """Return which values are not zero, shape `(n,)`, bool; -0.0 is zero, NaN is not."""
    dtype = values.dtype
    if dtype.kind in "biufc" or dtype.isbuiltin == 2:
        # A signalling NaN is no reason to warn.
        with np.errstate(invalid="ignore"):
            return np.not_equal(values, np.zeros((), dtype))
    return np.asarray(values.view(np.uint8).reshape(-1, dtype.itemsize).any(axis=1))


def to_float16(values: np.ndarray) -> np.ndarray:
    """Return wider floats as float16, and other values as they are.

    Raises:
        ValueError: if a finite value has no finite float16.
    """
    if values.dtype.kind != "f" or values.dtype.itemsize <= 2:
        return values
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        half = values.astype("<f2")
    lost = np.isfinite(values) & ~np.isfinite(half)
    if lost.any():
        raise ValueError(
            f"{np.count_nonzero(lost)} of {values.size} values lie outside of float16, which ends "
            f"at 65504; the largest is {np.abs(values[lost]).max():g}. Keep the values as they are "
            "with `values=None`."
        )
    return half
