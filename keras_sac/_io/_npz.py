"""Store named arrays in an `.npz` file: written whole or not at all, read without pickle."""

import errno
import os
import pathlib
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from keras_sac._io._whole_file import written

_FORMAT_KEY = "format"


def write_npz(path: str | os.PathLike, tag: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path` as an `.npz` file marked with `tag`, replacing an old file.

    Args:
        path: destination. The name is used as given: no suffix is added.
        tag: name and version of the format, checked by `read_npz`.
        arrays: arrays by name.

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
        ValueError: if the file is truncated, is no `.npz`, needs pickle, or has another format.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            # NumPy would also read a plain `.npy`, which has no format entry.
            if not zipfile.is_zipfile(file):
                raise zipfile.BadZipFile("not a zip archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
    ) as e:
        raise ValueError(
            f"{name!r} cannot be read as an .npz archive ({e}). Expected a complete file written "
            f"by `save` ({tag}). Save the file again, or repeat the copy if it was cut short."
        ) from e
    found = str(arrays.pop(_FORMAT_KEY, "no format entry"))
    if found != tag:
        raise ValueError(
            f"{name!r} must have the format {tag!r}. Received: an .npz archive of format {found!r} "
            f"with the entries {sorted(arrays)[:8]}. {otherwise}".rstrip()
        )
    return arrays
