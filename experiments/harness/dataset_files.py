"""Read data set files without running code from them: `.npz` archives and CIFAR-10 pickles."""

import codecs
import hashlib
import io
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

from harness import ExperimentError

KEYS = ("x_train", "y_train", "x_test", "y_test")
FOLDER = "cifar-10-batches-py"
# MD5 of the files of cifar-10-python.tar.gz, as torchvision publishes them.
ORIGINAL_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_reconstruct = np.empty(0).__reduce__()[0]
# A pickled dictionary of an array and a list needs no other names; others could run code.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}
# What NumPy raises for files that are truncated or not an archive.
_UNREADABLE = (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error)


def load_npz(path: Path) -> tuple[np.ndarray, ...]:
    """Read `x_train`, `y_train`, `x_test` and `y_test`, without unpickling objects.

    Args:
        path: file written by `numpy.savez`, or the `mnist.npz` that Keras downloads.

    Returns:
        The four arrays as they are in the file.

    Raises:
        ExperimentError: the file is truncated, is not an `.npz`, holds objects, or lacks an array.
    """
    try:
        # Opened here: `np.load` does not close a file that it opened and cannot read.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array instead of an archive")
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise ExperimentError(
                    f"{path} has no array named {', '.join(missing)}. Received: "
                    f"{', '.join(archive.files) or 'no arrays'}; expected {', '.join(KEYS)}. "
                    "Is it the file of another data set?"
                )
            return tuple(archive[key] for key in KEYS)
    except ExperimentError:
        raise
    except _UNREADABLE as error:
        raise ExperimentError(
            f"{path} cannot be read as an .npz ({type(error).__name__}: {error}). It is truncated, "
            "or numpy.savez did not write it. Write or download it again."
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here") from None


def load_cifar_batches(folder: Path) -> tuple[tuple[np.ndarray, ...], bool]:
    """Read the original CIFAR-10 files. Their pickles cannot run code.

    Args:
        folder: the folder that holds `data_batch_1` ... `data_batch_5` and `test_batch`.

    Returns:
        `(x_train, y_train, x_test, y_test)`, images `(n, 32, 32, 3)` uint8 and labels `(n,)`
        int64; and whether all six files are the published ones.

    Raises:
        ExperimentError: a file is missing, truncated, or holds other data.
    """
    missing = [name for name in ORIGINAL_MD5 if not (folder / name).is_file()]
    if missing:
        raise ExperimentError(
            f"{folder} lacks {', '.join(missing)}: expected the six files of "
            "cifar-10-python.tar.gz. Unpack the archive again."
        )
    parts, original = [], True
    for name, md5 in ORIGINAL_MD5.items():
        content = (folder / name).read_bytes()
        original &= hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
        parts.append(_images_and_labels(folder / name, content))
    train, (x_test, y_test) = parts[:-1], parts[-1]
    x_train = np.concatenate([images for images, _ in train])
    y_train = np.concatenate([labels for _, labels in train])
    return (x_train, y_train, x_test, y_test), original


def _images_and_labels(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise ExperimentError(
            f"{path} is not a CIFAR-10 batch ({type(error).__name__}: {error}): expected a pickled "
            "dictionary with b'data' and b'labels'. Unpack cifar-10-python.tar.gz again."
        ) from error
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise ExperimentError(
            f"{path} must hold uint8 data of shape (n, 3072). Received: {data.dtype} of shape "
            f"{data.shape}. Unpack cifar-10-python.tar.gz again."
        )
    # Each line holds the red plane, then the green, then the blue one, each in reading order.
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype("int64")
