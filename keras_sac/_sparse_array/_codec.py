"""An array to frames, and back."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from keras_sac._sparse_array import _positions, _values, _zstd
from keras_sac._sparse_array._header import ArrayHeader, dtype_name, dtype_of

# Weights are noise but for their exponents. In noise matches are coincidences that cost more than
# they save, and the lowest level finds fewest; higher ones pay for patterns.
LEVEL = 1


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A coded array: what it is, and the frames, whose lengths are `header.frames`."""

    header: ArrayHeader
    frames: tuple[bytes, ...]


def encode(array: np.ndarray, *, float16: bool = False, level: int = LEVEL) -> Encoded:
    """Leave the zeros of an array out and compress the rest.

    Args:
        array: of any shape, and of any type but objects and structures.
        float16: store wider floats as float16; those below 3e-8 become zero.
        level: of zstd, 1 to 22.

    Returns:
        What `decode` makes the same array of, bit by bit but for -0.0, which may become 0.0.

    Raises:
        ValueError: if the array holds objects, or a finite value has no finite float16.
    """
    array = np.asarray(array)
    dtype = dtype_name(array.dtype)
    flat = np.ascontiguousarray(array).reshape(-1)
    if float16:
        flat = _values.to_float16(flat)
    coding, frames, values = "dense", (), flat
    if flat.size and flat.dtype.itemsize <= _values.WIDEST:
        used = _values.used(flat)
        zeros = flat.size - int(np.count_nonzero(used))
        found, frame = _shortest(used, zeros, level)
        if len(frame) < zeros * flat.dtype.itemsize:
            coding, frames, values = found, (frame,), flat[used]
    frames += (_zstd.compress(_values.to_planes(values), values.nbytes, level),)
    lengths = tuple(len(frame) for frame in frames)
    stored = dtype_name(flat.dtype)
    return Encoded(ArrayHeader(array.shape, dtype, stored, coding, values.size, lengths), frames)


def decode(header: ArrayHeader, frames: Sequence[bytes]) -> np.ndarray:
    """Return the array that `encode` coded.

    Nothing of its size is allocated before the frames were found to belong to such an array.

    Args:
        header: what the frames are said to be.
        frames: of the lengths `header.frames`.

    Raises:
        ValueError: if a frame is damaged, or does not hold what the header says.
    """
    if tuple(len(frame) for frame in frames) != header.frames:
        raise ValueError(
            f"expected frames of {header.frames} bytes, received {[len(f) for f in frames]}"
        )
    stored = dtype_of(header.stored)
    held = _zstd.content_size(frames[-1])
    if held != header.values * stored.itemsize:
        raise ValueError(
            f"expected {header.values} values of {header.stored}, received {held} bytes"
        )
    positions = _find(header, frames)
    pieces = _zstd.decompress(frames[-1], _values.lengths(header.values, stored))
    chunks = (_values.from_planes(piece, stored) for piece in pieces)
    flat = np.zeros(header.size, dtype_of(header.dtype))
    start, rest = 0, np.zeros(0, stored)
    for where in positions:
        while rest.size < where.size:
            rest = np.concatenate([rest, next(chunks)])
        flat[where], rest = rest[: where.size], rest[where.size :]
    for chunk in chunks:
        flat[start : start + chunk.size] = chunk
        start += chunk.size
    return flat.reshape(header.shape)


def _shortest(used: np.ndarray, zeros: int, level: int) -> tuple[str, bytes]:
    """Return the coding of the positions that takes least, and its frame."""
    candidates = {"mask": _positions.to_mask(used)}
    # Before that, a gap takes more than a bit for each element.
    if 2 * zeros >= used.size:
        candidates["gaps"] = _positions.to_gaps(used)
    frames = [
        (name, _zstd.compress([coded], len(coded), tried))
        for name, coded in candidates.items()
        for tried in sorted({LEVEL, level})
    ]
    return min(frames, key=lambda pair: len(pair[1]))


def _find(header: ArrayHeader, frames: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Return where the values are, some at a time; nothing where they are everywhere."""
    if header.coding == "dense":
        return iter(())
    length = _zstd.content_size(frames[0])
    limits = _positions.length_limits(header.coding, header.size, header.values)
    if not limits[0] <= length <= limits[1]:
        raise ValueError(
            f"{length} bytes are not the positions of {header.values} values among {header.size}"
        )
    (coded,) = _zstd.decompress(frames[0], [length])
    unpack = {"mask": _positions.from_mask, "gaps": _positions.from_gaps}[header.coding]
    return unpack(coded, header.size, header.values)
