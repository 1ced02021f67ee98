"""Write a file or folder whole or not at all, and replace an old one only on request."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

from keras_sac._io._hidden_folder import hidden_folder, remove_stale, replace

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

    If the context raises, the destination is unchanged and the temporary files are deleted. If the
    process is killed, they are left in a hidden folder `.keras_sac-*` beside the destination, which
    the next write into the same folder removes.

    A file is replaced by one rename. A folder is exchanged by one system call on Linux and macOS;
    elsewhere, and on file systems that cannot do this, the old folder is moved away first, and a
    kill before the second rename leaves nothing at the destination (the next write puts the old
    folder back). One window stays open everywhere: of two files that belong together, such as
    OpenVINO's `.bin` and `.xml`, the first is renamed some microseconds before the second.

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
    remove_stale(parent)
    check_room(parent, expected_bytes)
    # In the same folder, hence on the same disk: a move is then a single atomic rename.
    with hidden_folder(parent) as folder:
        new = folder / target.name
        yield new
        # The target comes last: when it appears, the files beside it are complete.
        parts = sorted(folder.iterdir(), key=lambda each: each == new)
        for part in parts:
            _check_absent(parent / part.name, overwrite)
        for part in parts:
            replace(part, parent / part.name)


def check_room(folder: pathlib.Path, expected_bytes: int, advice: str = "") -> None:
    """Raise an `OSError` if the disk of a folder has too little free space.

    Args:
        folder: existing folder to write into.
        expected_bytes: estimated size of what will be written.
        advice: next step, the end of the message.
    """
    free = shutil.disk_usage(folder).free
    if free < _ROOM * expected_bytes:
        message = (
            f"The disk has {free:,} bytes left; expected about {int(_ROOM * expected_bytes):,}"
        )
        raise OSError(errno.ENOSPC, f"{message}. {advice}" if advice else message, str(folder))


def _check_absent(path: pathlib.Path, overwrite: bool) -> None:
    # A link whose target is missing is there, too.
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(
            errno.EEXIST,
            "The destination exists. Pass `overwrite=True` to replace it.",
            str(path),
        )
