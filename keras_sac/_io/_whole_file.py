"""Write a file or folder whole or not at all, and replace an old one only on request."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# Free space needed for each expected byte: headers, and errors of the estimate.
_ROOM = 1.5


def check_free(path: str | os.PathLike[str], suffix: str, overwrite: bool) -> pathlib.Path:
    """Return `path` if a file or folder may be written there.

    Args:
        path: destination of the new file or folder.
        suffix: required ending of the path; `""` allows any path.
        overwrite: whether an existing file or folder may be replaced.

    Raises:
        ValueError: if the path has another ending.
        FileExistsError: if the destination exists and `overwrite` is false.
        FileNotFoundError: if the folder to write into does not exist.
    """
    target = pathlib.Path(path)
    if suffix and target.suffix != suffix:
        raise ValueError(f"`path` must end with {suffix!r}. Received: path={str(path)!r}")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT,
            "The folder to write into does not exist. Create it first",
            str(target.absolute().parent),
        )
    _check_absent(target, overwrite)
    return target


@contextlib.contextmanager
def written(
    target: pathlib.Path, expected_bytes: int = 0, *, overwrite: bool
) -> Iterator[pathlib.Path]:
    """Yield a temporary path; move what was written there to `target` when the context ends.

    If the context raises, the destination is unchanged and the temporary files are deleted.

    Args:
        target: final path of the file or folder. Files written beside the temporary path are moved
            beside the target.
        expected_bytes: estimated size, compared with the free space of the disk.
        overwrite: whether existing files may be replaced.

    Raises:
        OSError: if the disk has too little free space.
        FileExistsError: if a destination exists and `overwrite` is false.
    """
    parent = target.absolute().parent
    free = shutil.disk_usage(parent).free
    if free < _ROOM * expected_bytes:
        raise OSError(
            errno.ENOSPC,
            f"The disk has {free:,} bytes left; expected about {int(_ROOM * expected_bytes):,}",
            str(parent),
        )
    # In the same folder, hence on the same disk: a move is then a single atomic rename.
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{target.name}-") as folder:
        new = pathlib.Path(folder, target.name)
        yield new
        # The target comes last: when it appears, the files beside it are complete.
        parts = sorted(pathlib.Path(folder).iterdir(), key=lambda each: each == new)
        for part in parts:
            _check_absent(parent / part.name, overwrite)
        if target.is_dir():
            # A rename cannot replace a folder, so the old one is moved away first.
            os.rename(target, pathlib.Path(folder, "old"))
        for part in parts:
            os.replace(part, parent / part.name)


def _check_absent(path: pathlib.Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            errno.EEXIST,
            "The destination exists. Pass `overwrite=True` to replace it.",
            str(path),
        )
