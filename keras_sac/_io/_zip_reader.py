"""Read a zip archive that may be damaged, so that damage of any kind gives one error."""

import contextlib
import errno
import zipfile
from collections.abc import Iterator

# Keras' own limits for the size of an extracted member.
_SMALL = 2**28
_MOST_EXPANSION = 100
# What a file system answers to positions and names that no intact archive has.
_DAMAGE = {
    None,
    errno.EINVAL,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EILSEQ,
}


class InvalidFileError(ValueError):
    """Raised when a file does not hold what it should.

    It is damaged or cut short, of another kind, of a newer version, or of a model that this program
    cannot make.

    Examples:
        >>> import pathlib, tempfile, keras_sac
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "model.sparse")
        ...     size = path.write_bytes(b"something else")
        ...     try:
        ...         keras_sac.load_sparse(path)
        ...     except keras_sac.InvalidFileError as error:
        ...         print(str(error).partition(" does ")[2][:34])
        not end like a sparse file. Expect
    """


@contextlib.contextmanager
def invalid_if_it_fails(message: str) -> Iterator[None]:
    """Raise errors of reading a file as `InvalidFileError`.

    A full disk, missing permissions and too little memory say nothing about the file. Their errors
    stay as they are.

    Args:
        message: what is wrong and what to do, with `{}` in the place of the cause.
    """
    try:
        yield
    except Exception as error:
        is_of_machine = isinstance(error, OSError) and error.errno not in _DAMAGE
        if isinstance(error, MemoryError | InvalidFileError) or is_of_machine:
            raise
        # Keras writes the whole configuration before the reason, and part of it behind.
        reason = str(error).rpartition("Exception encountered: ")[2][:500].strip()
        cause = reason.removesuffix(".") or type(error).__name__
        raise InvalidFileError(message.replace("{}", cause)) from error


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Check the names and lengths of the members of an archive before any of them is read.

    Args:
        archive: open archive.
        size: number of bytes of its file.

    Raises:
        ValueError: if a name may lead out of the folder to extract to or stands twice, or a member
            claims more bytes than it can hold.
    """
    names = [safe_name(info.filename) for info in archive.infolist()]
    if len(set(names)) != len(names):
        raise ValueError(f"Two of its members have the same name: {sorted(names)}.")
    claimed = sum(info.compress_size for info in archive.infolist())
    if claimed > size:
        raise ValueError(f"Its members claim {claimed} of the {size} bytes of the file.")
    for info in archive.infolist():
        most = info.compress_size
        if info.compress_type != zipfile.ZIP_STORED:
            most = max(_SMALL, _MOST_EXPANSION * most)
        if info.file_size > most:
            raise ValueError(
                f"{info.filename!r} claims {info.file_size} bytes in {info.compress_size}."
            )


def safe_name(name: str) -> str:
    """Return the name of a member if it cannot lead out of the folder to extract to."""
    if "\\" in name or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(f"The name {name!r} may lead out of the folder.")
    return name
