"""Store the positions of values as a bit mask, or as the lengths of the runs of zeros (gaps)."""

from collections.abc import Iterator

import numpy as np

# Elements or bytes processed at a time, so that temporary arrays stay in the cache.
_CHUNK = 2**18
_LONG = 255


def to_mask(used: np.ndarray) -> bytes:
    """Return one bit for each element of `used`, a boolean array of shape `(n,)`."""
    return np.packbits(used, bitorder="little").tobytes()


def from_mask(mask: bytes, size: int, count: int) -> Iterator[np.ndarray]:
    """Return the positions of `count` ones among `size` bits, as int64 arrays of chunks.

    Raises:
        ValueError: before the first chunk, if the number of bits or of ones is different.
    """
    packed = np.frombuffer(mask, np.uint8)
    ones = int(np.bitwise_count(packed).sum(dtype=np.int64))
    if ones != count or (size % 8 and packed[-1] >> (size % 8)):
        raise ValueError(
            f"The mask must mark {count} of {size} elements. Received: a mask that marks {ones}"
        )
    step = _CHUNK // 8
    return (
        8 * start + np.flatnonzero(np.unpackbits(packed[start : start + step], bitorder="little"))
        for start in range(0, len(packed), step)
    )


def to_gaps(used: np.ndarray) -> bytes:
    """Return the number of zeros before each value and after the last value, one byte each.

    The byte 255 means 255 zeros that are not followed by a value, so a run of
    `g = 255 a + b` zeros is written as `a` times 255, then `b`.
    """
    coded, before = [], -1
    for start in range(0, used.size, _CHUNK):
        found = start + np.flatnonzero(used[start : start + _CHUNK])
        if found.size:
            coded.append(_code(np.diff(found, prepend=before) - 1))
            before = int(found[-1])
    coded.append(_code(np.array([used.size - before - 1])))
    return b"".join(coded)


def from_gaps(coded: bytes, size: int, count: int) -> Iterator[np.ndarray]:
    """Return the positions of the values that `to_gaps` wrote, as int64 arrays of chunks.

    Raises:
        ValueError: before the first chunk, if the gaps do not describe `count` values among `size`
            elements.
    """
    codes = np.frombuffer(coded, np.uint8)
    values = int(np.count_nonzero(codes < _LONG)) - 1
    covered = int(codes.sum(dtype=np.int64)) + values
    if values != count or covered != size or codes[-1] == _LONG:
        raise ValueError(
            f"The gaps must describe {count} values among {size} elements. Received: gaps for "
            f"{values} values among {covered} elements"
        )
    return _ends_of_gaps(codes)


def length_limits(coding: str, size: int, count: int) -> tuple[int, int]:
    """Return the minimal and maximal number of bytes of the positions of `count` values."""
    if coding == "mask":
        return (size + 7) // 8, (size + 7) // 8
    zeros = size - count
    return max(count + 1, zeros // _LONG + 1), count + 1 + zeros // _LONG


def _code(gaps: np.ndarray) -> bytes:
    last = np.cumsum(gaps // _LONG + 1) - 1
    codes = np.full(last[-1] + 1, _LONG, np.uint8)
    codes[last] = gaps % _LONG
    return codes.tobytes()


def _ends_of_gaps(codes: np.ndarray) -> Iterator[np.ndarray]:
    before = -1
    for start in range(0, len(codes), _CHUNK):
        chunk = codes[start : start + _CHUNK]
        is_end = chunk < _LONG
        ends = before + np.cumsum(chunk + is_end.astype(np.int64))
        before = int(ends[-1])
        found = ends[is_end]
        # The last run ends at the end of the array, not at a value.
        yield found[:-1] if start + _CHUNK >= len(codes) else found
