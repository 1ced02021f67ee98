"""Write in a hidden folder beside the destination, and clean up after writes that were killed."""

import contextlib
import ctypes
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows. Folders that killed writes left stay there.
    fcntl = None

# The names do not contain that of the target, which may be as long as a name can be.
_NEW, _LOCKED, _UNLOCKED = ".keras_sac-new-", ".keras_sac-locked-", ".keras_sac-unlocked-"
# A folder has its first name for microseconds, and is empty then.
_LONGEST_NEW_S = 3600.0
_FILES, _REPLACED = "files", "replaced"
# Function of the C library that exchanges two paths, and its name for the working folder.
_EXCHANGE = {"linux": ("renameat2", -100), "darwin": ("renameatx_np", -2)}
_EXCHANGE_FLAG = 2


@contextlib.contextmanager
def hidden_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield an empty folder inside a hidden one in `parent`; delete both at the end.

    This process holds a lock on the hidden folder. The system releases it when the process ends, in
    whatever way. So `remove_stale` of another process knows whether the folder is in use.
    """
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix=_NEW))
    with contextlib.ExitStack() as stack:
        is_locked = stack.enter_context(_locked(folder))
        # Others see the final name only after the lock is there.
        name = folder.name.replace(_NEW, _LOCKED if is_locked else _UNLOCKED)
        folder = folder.rename(parent / name)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        files = folder / _FILES
        files.mkdir()
        yield files


def remove_stale(parent: pathlib.Path) -> None:
    """Delete the hidden folders in `parent` that killed processes left.

    If a process was killed between the two renames of `replace`, the old folder is put back.
    """
    with os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".keras_sac-")]
    for folder in (parent / name for name in names):
        # Another process may delete it at the same time, or it belongs to another user.
        with contextlib.suppress(OSError):
            if folder.name.startswith(_NEW):
                if time.time() - folder.stat().st_mtime > _LONGEST_NEW_S:
                    folder.rmdir()
            elif folder.name.startswith(_LOCKED):
                with _locked(folder) as is_stale:
                    if is_stale:
                        _put_back(folder / _REPLACED, parent)
                        shutil.rmtree(folder)


def replace(new: pathlib.Path, target: pathlib.Path) -> None:
    """Move `new`, which a `hidden_folder` holds, to `target`; an old file or folder is replaced."""
    if not os.path.lexists(target) or not (new.is_dir() or target.is_dir()):
        os.replace(new, target)
    elif not _exchanged(new, target):
        # A rename cannot replace a folder.
        aside = new.parent.with_name(_REPLACED)
        aside.mkdir()
        os.rename(target, aside / target.name)
        os.rename(new, target)


def _put_back(aside: pathlib.Path, parent: pathlib.Path) -> None:
    for old in aside.iterdir() if aside.is_dir() else ():
        if not os.path.lexists(parent / old.name):
            os.rename(old, parent / old.name)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[bool]:
    """Yield whether this process could lock the folder; unlock it at the end."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except OSError:
            # Another process has the lock, or the file system has no locks on folders.
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)


def _exchanged(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Exchange two paths in one step; return False if the system cannot."""
    name, here = _EXCHANGE.get(sys.platform, ("", 0))
    exchange = getattr(ctypes.CDLL(None), name, None) if name else None
    if exchange is None:
        return False
    return exchange(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE_FLAG) == 0
