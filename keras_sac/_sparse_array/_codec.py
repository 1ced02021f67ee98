"""Encode an array as compressed frames without its zeros, and decode it."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from keras_sac._sparse_array._header import ArrayHeader, dtype_name, dtype_of
from keras_sac._sparse_array._positions import (
    from_gaps,
    from_mask,
    length_limits,
    to_gaps,
    to_mask,
)
from keras_sac._sparse_array._values import (
    WIDEST,
    from_planes,
    lengths_of_chunks,
    nonzero,
    to_float16,
    to_planes,
)
from keras_sac._sparse_array._zstd import compress, content_size, decompress

# Except for their exponents, weights are noise. A match in noise costs more than it saves, and the
# lowest level finds the fewest. Higher levels pay off for patterns.
LEVEL = 1


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An encoded array: its header, and its frames, whose lengths are `header.frames`."""

    header: ArrayHeader
    frames: tuple[bytes, ...]


def encode(array: np.ndarray, *, float16: bool = False, level: int = LEVEL) -> Encoded:
    """Encode an array without its zeros.

    Args:
        array: array of any shape and any dtype except objects and structures.
        float16: whether to store wider floats as float16; magnitudes below 3e-8 become zero.
        level: compression level of zstd, 1 to 22.

    Returns:
        The encoded array. `decode` restores it bit by bit, except that -0.0 may become 0.0.

    Raises:
        ValueError: if the array holds objects, or a finite value is too large for float16.
    """
    array = np.asarray(array)
    dtype = dtype_name(array.dtype)
    flat = np.ascontiguousarray(array).reshape(-1)
    if float16:
        flat = to_float16(flat)
    coding, frames, values = "dense", (), flat
    if flat.size and flat.dtype.itemsize <= WIDEST:
        used = nonzero(flat)
        zeros = flat.size - int(np.count_nonzero(used))
        found, frame = _shortest(used, zeros, level)
        if len(frame) < zeros * flat.dtype.itemsize:
            coding, frames, values = found, (frame,), flat[used]
    frames += (compress(to_planes(values), values.nbytes, level),)
    lengths = tuple(len(frame) for frame in frames)
    stored = dtype_name(flat.dtype)
    return Encoded(ArrayHeader(array.shape, dtype, stored, coding, values.size, lengths), frames)


def decode(header: ArrayHeader, frames: Sequence[bytes]) -> np.ndarray:
    """Decode an array.

    The frames are checked against the header before an array of its size is allocated.

    Args:
        header: header of the encoded array.
        frames: its frames.

    Raises:
        ValueError: if a frame is damaged or does not fit the header.
    """
    if tuple(len(frame) for frame in frames) != header.frames:
        raise ValueError(
            f"Expected frames of {header.frames} bytes. Received: {[len(f) for f in frames]}"
        )
    stored = dtype_of(header.stored)
    held = content_size(frames[-1])
    if held != header.values * stored.itemsize:
        raise ValueError(
            f"Expected {header.values} values of {header.stored}. Received: {held} bytes"
        )
    positions = _find(header, frames)
    pieces = decompress(frames[-1], lengths_of_chunks(header.values, stored))
    chunks = (from_planes(piece, stored) for piece in pieces)
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
    """Return the shortest coding of the positions, and its frame."""
    candidates = {"mask": to_mask(used)}
    # With fewer zeros, gaps take more than one bit for each element.
    if 2 * zeros >= used.size:
        candidates["gaps"] = to_gaps(used)
    frames = [
        (name, compress([coded], len(coded), tried))
        for name, coded in candidates.items()
        for tried in sorted({LEVEL, level})
    ]
    return min(frames, key=lambda pair: len(pair[1]))


def _find(header: ArrayHeader, frames: Sequence[bytes]) -> Iterator[np.ndarray]:
    """Yield the positions of the values in chunks; nothing for a dense array."""
    if header.coding == "dense":
        return iter(())
    length = content_size(frames[0])
    limits = length_limits(header.coding, header.size, header.values)
    if not limits[0] <= length <= limits[1]:
        raise ValueError(
            f"Expected the positions of {header.values} values among {header.size} elements. "
            f"Received: {length} bytes"
        )
    (coded,) = decompress(frames[0], [length])
    unpack = {"mask": from_mask, "gaps": from_gaps}[header.coding]
    return unpack(coded, header.size, header.values)
