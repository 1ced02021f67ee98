"""Images and labels from an `.npz` with `x_train`, `y_train`, `x_test`, `y_test`."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from harness.errors import ExperimentError

KEYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(path: Path) -> tuple[np.ndarray, ...]:
    """Read the four arrays of a data set, never unpickling anything.

    Args:
        path: File written by `numpy.savez` (or the `mnist.npz` that Keras downloads).

    Returns:
        `(x_train, y_train, x_test, y_test)` as they are in the file.

    Raises:
        ExperimentError: The file is truncated, is no npz, holds objects, or lacks an array.
    """
    try:
        # Opened here: NumPy leaves its own file open when the archive turns out to be none.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not an archive of arrays")
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise ExperimentError(
                    f"{path} has no array named {', '.join(missing)}: it holds "
                    f"{', '.join(archive.files) or 'nothing'}, expected {', '.join(KEYS)}. "
                    "Is it another data set's file?"
                )
            return tuple(archive[key] for key in KEYS)
    except ExperimentError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ExperimentError(
            f"{path} cannot be read as an .npz ({type(error).__name__}: {error}): it is truncated "
            "or was not written by numpy.savez. Make or download it again."
        ) from error
