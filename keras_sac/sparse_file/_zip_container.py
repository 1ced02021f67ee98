"""Write and read the container of a sparse file: a zip archive that ends with its own digest.

The last bytes of the file, the comment of the archive, are
`keras_sac.sparse/<version> sha256:<digest>`. A later version may change everything else.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from keras_sac._io import InvalidFileError, check_members, invalid_if_it_fails, safe_name

FORMAT = "keras_sac.sparse"
VERSION = 1
_TAIL = re.compile(rb"keras_sac\.sparse/(\d{1,9}) sha256:([0-9a-f]{64})\Z")
_DIGITS = 64


@contextlib.contextmanager
def new_archive(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    """Yield a new archive; the digest is written when the context ends.

    Args:
        path: path of the file, which must not exist.
    """
    with zipfile.ZipFile(path, "x") as archive:
        yield archive
        archive.comment = f"{FORMAT}/{VERSION} sha256:{'0' * _DIGITS}".encode()
    with open(path, "r+b") as file:
        digest = _digest(file)
        file.seek(-_DIGITS, os.SEEK_END)
        file.write(digest)


def member(name: str, size: int, *, compressed: bool) -> zipfile.ZipInfo:
    """Return a new member of an archive, without date, so that equal content gives equal bytes.

    Args:
        name: path of the member in the archive.
        size: maximal number of bytes of its content.
        compressed: whether to compress it with deflate.
    """
    info = zipfile.ZipInfo(safe_name(name))
    info.compress_type = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    info.create_system = 3
    info.external_attr = 0o644 << 16
    # From this size, zipfile decides how many bytes to reserve for the real one.
    info.file_size = size
    return info


@contextlib.contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Yield the archive at a path after checking its digest and its members.

    Raises:
        InvalidFileError: if the file is no such archive, is damaged, or has a newer version.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        _check_tail(name, file)
        with contextlib.ExitStack() as stack:
            with reading(name):
                archive = stack.enter_context(zipfile.ZipFile(file))
                check_members(archive, os.fstat(file.fileno()).st_size)
            yield archive


def reading(name: str) -> contextlib.AbstractContextManager[None]:
    """Return a context in which errors of reading the content of a file are `InvalidFileError`.

    Args:
        name: name of the file in the error.
    """
    return invalid_if_it_fails(
        f"{name!r} does not have the content that `save_sparse` writes. {{}}. Save the model again."
    )


def extract(archive: zipfile.ZipFile, name: str, folder: pathlib.Path) -> None:
    """Extract a member to a file with its name in a folder."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, open(target, "xb") as copy:
        shutil.copyfileobj(source, copy)


def _check_tail(name: str, file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 128))
    tail = _TAIL.search(file.read())
    if tail is None:
        raise InvalidFileError(
            f"{name!r} does not end like a sparse file. Expected a file that `save_sparse` wrote. "
            f"Received: {end} bytes. If it was a sparse file, it was cut short or damaged: copy it "
            "again. Load a `.keras` file with `keras.saving.load_model`."
        )
    if int(tail[1]) != VERSION:
        raise InvalidFileError(
            f"{name!r} is a sparse file of version {int(tail[1])}; this version of keras_sac reads "
            f"version {VERSION}. Install a newer keras_sac."
        )
    if _digest(file) != tail[2]:
        raise InvalidFileError(
            f"{name!r} is a damaged sparse file: its content does not have the SHA-256 digest "
            f"{tail[2].decode()}. Copy the file again, or save the model again."
        )
    file.seek(0)


def _digest(file: BinaryIO) -> bytes:
    """Return the SHA-256 digest of all bytes before the digest at the end, in hexadecimal."""
    left = file.seek(0, os.SEEK_END) - _DIGITS
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        piece = file.read(min(left, 2**20))
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest().encode()
