"""Where the values are: a bit for each element, or a byte for each run of zeros."""

from collections.abc import Iterator

import numpy as np

# Elements, or bytes, that are worked on at a time: temporary arrays stay in the cache.
_CHUNK = 2**18
_LONG = 255


def to_mask(used: np.ndarray) -> bytes:
    """Return one bit for each element of `used`, shape `(n,)`, bool."""
    return np.packbits(used, bitorder="little").tobytes()


def from_mask(mask: bytes, size: int, count: int) -> Iterator[np.ndarray]:
    """Return the positions of `count` ones among `size` bits, some at a time, int64.

    Raises:
        ValueError: at once, if there are more bits, or another number of ones.
    """
    packed = np.frombuffer(mask, np.uint8)
    ones = int(np.bitwise_count(packed).sum(dtype=np.int64))
    if ones != count or (size % 8 and packed[-1] >> (size % 8)):
        raise ValueError(f"the mask marks {ones} of {size} elements; expected {count}")
    step = _CHUNK // 8
    return (
        8 * start + np.flatnonzero(np.unpackbits(packed[start : start + step], bitorder="little"))
        for start in range(0, len(packed), step)
    )


def to_gaps(used: np.ndarray) -> bytes:
    """Return the lengths of the runs of zeros before each value, and after the last one.

    255 stands for as many zeros with no value after them, so that a run of any length has a code:
    `g = 255 a + b` is `a` times 255, then `b`.
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
    """Return the positions of the values that `to_gaps` coded, some at a time, int64.

    Raises:
        ValueError: at once, if the runs do not make up `count` values among `size` elements.
    """
    codes = np.frombuffer(coded, np.uint8)
    values = int(np.count_nonzero(codes < _LONG)) - 1
    covered = int(codes.sum(dtype=np.int64)) + values
    if values != count or covered != size or codes[-1] == _LONG:
        raise ValueError(
            f"the gaps make {values} values among {covered} elements; expected {count} among {size}"
        )
    return _ends_of_gaps(codes)


def length_limits(coding: str, size: int, count: int) -> tuple[int, int]:
    """Return the fewest and the most bytes that the positions of `count` values can take."""
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
        # The last run ends at no value, but where the array ends.
        yield found[:-1] if start + _CHUNK >= len(codes) else found
