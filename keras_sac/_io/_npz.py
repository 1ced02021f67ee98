"""Named arrays on disk: written whole or not at all, read without pickle."""

import os
import pathlib
import uuid
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

_FORMAT_KEY = "format"


def write_npz(path: str | os.PathLike, tag: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path` as an `.npz` marked with `tag`; `path` is replaced in one step.

    Args:
        path: where to write. The name is kept as given: no suffix is added.
        tag: what the file holds, checked by `read_npz`.
        arrays: what to write. Arrays of objects are refused by NumPy (`allow_pickle=False`).

    Raises:
        ValueError: if an array holds Python objects. `path` is then as it was before.
    """
    target = pathlib.Path(path)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "xb") as file:
            np.savez(file, allow_pickle=False, **{_FORMAT_KEY: np.array(tag)}, **arrays)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def read_npz(path: str | os.PathLike, tag: str) -> dict[str, np.ndarray]:
    """Read what `write_npz` wrote under the same `tag`.

    Args:
        path: an `.npz` file.
        tag: what the file has to hold.

    Returns:
        The arrays by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated, no `.npz`, needs pickle, or holds something else.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            # A plain `.npy` would be read whole, a pickle refused: neither is a zip archive.
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
            f"by `save` ({tag}). Save it again, or copy it again if the copy was cut short."
        ) from e
    found = str(arrays.pop(_FORMAT_KEY, "no format entry"))
    if found != tag:
        raise ValueError(
            f"{name!r} is an .npz archive, but not one of ours: expected the format {tag!r}, "
            f"received {found!r} with the entries {sorted(arrays)[:8]}. To use a matrix of your "
            "own, load it with NumPy and pass it to `Basis.from_matrix`."
        )
    return arrays
