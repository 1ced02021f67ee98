"""Frames of zstd: with length and checksum, and never larger than what they say they are."""

import types
from collections.abc import Iterable, Iterator

# No block of zstd holds more than 2**17 bytes, and none is shorter than 4.
_MOST_PER_BYTE = 2**15
# Level 22 looks back as far as this; a frame that asks for more memory is not one of ours.
_LARGEST_WINDOW = 2**27


def compress(parts: Iterable[bytes], size: int, level: int) -> bytes:
    """Return one frame of all parts, each of them coded with statistics of its own.

    Args:
        parts: what to compress, `size` bytes in all.
        size: written into the frame.
        level: of zstd, 1 to 22.
    """
    zstd = _zstandard()
    compressor = zstd.ZstdCompressor(level=level, write_checksum=True).compressobj(size=size)
    frame = []
    for part in parts:
        frame += [compressor.compress(part), compressor.flush(zstd.COMPRESSOBJ_FLUSH_BLOCK)]
    frame.append(compressor.flush())
    return b"".join(frame)


def decompress(frame: bytes, lengths: Iterable[int]) -> Iterator[bytes]:
    """Yield the content of a frame in pieces of the given lengths, which have to be all of it.

    Raises:
        ValueError: if the frame is damaged, or holds less or more.
    """
    zstd = _zstandard()
    decompressor = zstd.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    # What follows can be read only where the frame has ended and its checksum was right.
    follows = compress([b"."], 1, 1)
    with decompressor.stream_reader(frame + follows, read_across_frames=True) as reader:
        try:
            for length in lengths:
                piece = reader.read(length)
                if len(piece) != length:
                    raise ValueError(f"the frame ends {length - len(piece)} bytes too early")
                yield piece
            if reader.read(2) != b".":
                raise ValueError("the frame does not end where it should")
        except zstd.ZstdError as e:
            raise ValueError(f"the frame is damaged ({e})") from e


def content_size(frame: bytes) -> int:
    """Return how many bytes a frame says that it holds, if so few bytes can hold them.

    Raises:
        ValueError: if this is no frame that `compress` wrote.
    """
    zstd = _zstandard()
    try:
        found = zstd.get_frame_parameters(frame)
    except zstd.ZstdError as e:
        raise ValueError(f"expected a frame of zstd ({e})") from e
    unknown = (zstd.CONTENTSIZE_UNKNOWN, zstd.CONTENTSIZE_ERROR)
    if found.content_size in unknown or not found.has_checksum:
        raise ValueError("expected a frame with its length and a checksum")
    if found.content_size > _MOST_PER_BYTE * len(frame):
        raise ValueError(
            f"the frame claims {found.content_size} bytes; its {len(frame)} bytes hold at most "
            f"{_MOST_PER_BYTE * len(frame)}"
        )
    return found.content_size


def _zstandard() -> types.ModuleType:
    import zstandard

    return zstandard
