"""Compress and decompress zstd frames that have a length and a checksum, and reject others."""

import types
from collections.abc import Iterable, Iterator

# A zstd block holds at most 2**17 bytes and takes at least 4.
_MOST_PER_BYTE = 2**15
# The window of level 22. A frame that needs more memory was not written by `compress`.
_LARGEST_WINDOW = 2**27


def compress(parts: Iterable[bytes], size: int, level: int) -> bytes:
    """Compress parts into one frame, each part with its own statistics.

    Args:
        parts: byte strings of `size` bytes in total.
        size: total length, which is written into the frame.
        level: compression level of zstd, 1 to 22.
    """
    zstd = _zstandard()
    compressor = zstd.ZstdCompressor(level=level, write_checksum=True).compressobj(size=size)
    frame = []
    for part in parts:
        frame += [compressor.compress(part), compressor.flush(zstd.COMPRESSOBJ_FLUSH_BLOCK)]
    frame.append(compressor.flush())
    return b"".join(frame)


def decompress(frame: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """Yield the content of a frame in pieces of the given lengths.

    Raises:
        ValueError: if the frame is damaged, or its length is not the sum of the lengths.
    """
    zstd = _zstandard()
    decompressor = zstd.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    # A second frame can be read only if the first one has ended with the right checksum.
    follows = compress([b"."], 1, 1)
    with decompressor.stream_reader(frame + follows, read_across_frames=True) as reader:
        try:
            for length in lengths:
                piece = reader.read(length)
                if len(piece) != length:
                    raise ValueError(f"The frame ends {length - len(piece)} bytes too early.")
                yield piece
            if reader.read(2) != b".":
                raise ValueError("The frame does not end where it should.")
        except zstd.ZstdError as e:
            raise ValueError(f"The frame is damaged ({e}).") from e


def content_size(frame: bytes) -> int:
    """Return the length of the content that a frame declares.

    Raises:
        ValueError: if `compress` cannot have written the frame, or it is too short for this length.
    """
    zstd = _zstandard()
    try:
        found = zstd.get_frame_parameters(frame)
    except zstd.ZstdError as e:
        raise ValueError(f"Expected a zstd frame ({e}).") from e
    unknown = (zstd.CONTENTSIZE_UNKNOWN, zstd.CONTENTSIZE_ERROR)
    if found.content_size in unknown or not found.has_checksum:
        raise ValueError("Expected a zstd frame with a length and a checksum.")
    if found.content_size > _MOST_PER_BYTE * len(frame):
        raise ValueError(
            f"The frame claims {found.content_size} bytes; its {len(frame)} bytes can hold at most "
            f"{_MOST_PER_BYTE * len(frame)}."
        )
    return found.content_size


def _zstandard() -> types.ModuleType:
    import zstandard

    return zstandard
