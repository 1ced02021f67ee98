"""Where a file goes: whole or not at all, and never over another one unasked."""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

# What is written before the old is taken away, and headers.
_ROOM = 1.5


def check_free(path: str | os.PathLike[str], suffix: str, overwrite: bool) -> pathlib.Path:
    """Return where to write.

    Args:
        path: of the new file or folder.
        suffix: that it must have; `""` for a folder.
        overwrite: whether what is there may be replaced.

    Raises:
        ValueError: if the path ends otherwise.
        FileExistsError: if something is there that may not be replaced.
        FileNotFoundError: if the folder that it goes into is not there.
    """
    target = pathlib.Path(path)
    if suffix and target.suffix != suffix:
        raise ValueError(f"Expected a path that ends with {suffix!r}. Received: {str(path)!r}")
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(
            errno.ENOENT, "The folder to write into is not there", str(target.absolute().parent)
        )
    _check_absent(target, overwrite)
    return target


@contextlib.contextmanager
def written(
    target: pathlib.Path, expected_bytes: int, *, overwrite: bool
) -> Iterator[pathlib.Path]:
    """Return a context with the path to write to; what is there goes to the target at the end.

    Args:
        target: file or folder; what is written beside it goes beside the target.
        expected_bytes: about what will be written.
        overwrite: whether what is there may be replaced.

    Raises:
        OSError: if the disk has no room for it.
        FileExistsError: if something is there that may not be replaced.
    """
    parent = target.absolute().parent
    free = shutil.disk_usage(parent).free
    if free < _ROOM * expected_bytes:
        raise OSError(
            errno.ENOSPC,
            f"The disk has {free:,} bytes left; expected about {int(_ROOM * expected_bytes):,}",
            str(parent),
        )
    # Beside the target, so that moving it is one step.
    with tempfile.TemporaryDirectory(dir=parent, prefix=f".{target.name}-") as folder:
        new = pathlib.Path(folder, target.name)
        yield new
        # The named file last: who sees it sees the others too.
        parts = sorted(pathlib.Path(folder).iterdir(), key=lambda each: each == new)
        for part in parts:
            _check_absent(parent / part.name, overwrite)
        if target.is_dir():
            # A folder cannot be replaced in one step.
            os.rename(target, pathlib.Path(folder, "old"))
        for part in parts:
            os.replace(part, parent / part.name)


def _check_absent(path: pathlib.Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            errno.EEXIST, "Something is there already; to replace it: overwrite=True", str(path)
        )
