"""The original CIFAR-10 files: `data_batch_1` to `data_batch_5` and `test_batch`."""

import codecs
import hashlib
import io
import pickle
from pathlib import Path

import numpy as np

from harness.errors import ExperimentError

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
# All that a pickled dictionary of a NumPy array and a list needs; anything else could run code.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here") from None


def load_batches(folder: Path) -> tuple[tuple[np.ndarray, ...], bool]:
    """Read `cifar-10-batches-py` without letting its pickles run code.

    Args:
        folder: The folder that holds `data_batch_1` ... `data_batch_5` and `test_batch`.

    Returns:
        `(x_train, y_train, x_test, y_test)`, images `(n, 32, 32, 3)` uint8 and labels `(n,)`
        int64, and whether all six files are the published ones.

    Raises:
        ExperimentError: A file is missing, truncated, or holds something else.
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
            f"{path} is no CIFAR-10 batch ({type(error).__name__}: {error}): expected a pickled "
            "dictionary with b'data' and b'labels'. Unpack cifar-10-python.tar.gz again."
        ) from error
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise ExperimentError(
            f"{path} holds data of shape {data.shape} and type {data.dtype}: expected (n, 3072) "
            "uint8. Unpack cifar-10-python.tar.gz again."
        )
    # A row is the red plane, then the green, then the blue, each row by row.
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), labels.astype("int64")
