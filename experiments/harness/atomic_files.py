"""Write files completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it replaces `path` unless the block raises.

    Args:
        path: destination. Missing folders are created.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "new", "a.txt")
        >>> with replacing(path) as part:
        ...     _ = part.write_text("complete")
        >>> path.read_text()
        'complete'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
