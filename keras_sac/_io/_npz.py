"""Store named arrays in an `.npz` file: written whole or not at all, read without pickle."""

import errno
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Mapping

import numpy as np

from keras_sac._io._whole_file import written
from keras_sac._io._zip_reader import InvalidFileError, check_members, invalid_if_it_fails

_FORMAT_KEY = "format"
_SUFFIX = ".npy"
# NumPy's reader evaluates the header of an array, and allocates what it claims before it reads.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?s:..)"
    rb"\{'descr': '([<|][biufUS]\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, )*(?:\d{1,18},?)?)\), \} *\n"
)


def write_npz(path: str | os.PathLike, tag: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path` as an `.npz` file marked with `tag`, replacing an old file.

    Args:
        path: destination. The name is used as given: no suffix is added.
        tag: name and version of the format, checked by `read_npz`.
        arrays: arrays of numbers or texts by name.

    Raises:
        ValueError: if an array holds Python objects. The destination is unchanged.
        IsADirectoryError: if `path` is a folder.
    """
    target = pathlib.Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "`path` must be the path of a file", str(target))
    size = sum(array.nbytes for array in arrays.values())
    with written(target, size, overwrite=True) as new, open(new, "xb") as file:
        np.savez(file, allow_pickle=False, **{_FORMAT_KEY: np.array(tag)}, **arrays)


def read_npz(path: str | os.PathLike, tag: str, *, otherwise: str = "") -> dict[str, np.ndarray]:
    """Read the arrays that `write_npz` wrote with the same `tag`.

    Args:
        path: an `.npz` file.
        tag: name and version of the expected format.
        otherwise: advice for a user whose archive has another format, appended to the error.

    Returns:
        The arrays by name.

    Raises:
        FileNotFoundError: if the file does not exist.
        InvalidFileError: if the file is damaged, is no `.npz` of numbers and texts, or has another
            format.
    """
    name = os.fspath(path)
    message = (
        f"{name!r} cannot be read as an .npz archive ({{}}). Expected a complete file written by "
        f"`save` ({tag}). Save the file again, or repeat the copy if it was cut short."
    )
    with open(path, "rb") as file, invalid_if_it_fails(message), zipfile.ZipFile(file) as archive:
        check_members(archive, os.fstat(file.fileno()).st_size)
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("its arrays are compressed")
        arrays = {
            info.filename.removesuffix(_SUFFIX): _array(info.filename, archive.read(info))
            for info in archive.infolist()
        }
    found = str(arrays.pop(_FORMAT_KEY, "no format entry"))
    if found != tag:
        raise InvalidFileError(
            f"{name!r} must have the format {tag!r}. Received: an .npz archive of format {found!r} "
            f"with the entries {sorted(arrays)[:8]}. {otherwise}".rstrip()
        )
    return arrays


def _array(name: str, content: bytes) -> np.ndarray:
    """Return the array of a member; it shares the memory of `content`."""
    header = _HEADER.match(content)
    if header is None or not name.endswith(_SUFFIX):
        raise ValueError(f"{name!r} is no array of numbers or texts")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(n) for n in header[3].replace(b",", b" ").split())
    if math.prod(shape) * dtype.itemsize != len(content) - header.end():
        raise ValueError(
            f"{name!r} has {len(content) - header.end()} bytes for {dtype} of shape {shape}"
        )
    order = "F" if header[2] == b"True" else "C"
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape, order=order)
