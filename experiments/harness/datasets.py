"""Load CIFAR-10, MNIST or digits: from a folder, from Keras' cache, or from scikit-learn."""

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np

from harness import ExperimentError
from harness.dataset_files import FOLDER, load_cifar_batches, load_npz

IMAGE_SHAPES = {"cifar10": (32, 32, 3), "mnist": (28, 28, 1), "digits": (8, 8, 1)}
TITLES = {"cifar10": "CIFAR-10", "mnist": "MNIST", "digits": "digits (scikit-learn)"}
CLASSES = 10
# Of the other 1,422, nine tenths are 20 whole batches of 64: one shape to compile.
_DIGITS_TEST = 375
# SHA-256 (see `array_hash`) of copies of known origin. The file itself does not tell its origin.
_JPEG = "CIFAR-10 (JPEG re-encoded)"
KNOWN_HASHES = {
    "bfa051675037cf9a17940d2e877a790328c9639236771cbcf5aeeca9037a82c8": _JPEG,
    "c1a44cd987adea06a723558e60762a763befa3cccc6bcbb05653f86cf68f5530": "MNIST",
    "be203788a2bdacd40cac15925b8796ced5d64a840c6801f6feaf82369fc0b5da": "digits (scikit-learn)",
}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels, with the label that results measured on them carry."""

    name: str  # "cifar10", "mnist" or "digits"
    label: str  # name and origin of the data, for tables and plots
    sha256: str  # `array_hash` of the four arrays, before any limit
    x_train: np.ndarray  # (n, height, width, channels) uint8
    y_train: np.ndarray  # (n,) int32, in 0..9
    x_test: np.ndarray
    y_test: np.ndarray

    def limited(self, count: int | None) -> "Dataset":
        """Return the data set with its first `count` training samples only (None: all)."""
        if count is None:
            return self
        if not 2 <= count <= len(self.x_train):
            raise ExperimentError(
                f"--limit must be between 2 and {len(self.x_train)}, the number of training "
                f"samples of {self.label}. Received: {count}."
            )
        return dataclasses.replace(self, x_train=self.x_train[:count], y_train=self.y_train[:count])


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """Load a data set by name.

    Args:
        name: `"cifar10"`, `"mnist"` or `"digits"`.
        data_dir: folder with `cifar-10-batches-py/` or `cifar10.npz`, or with `mnist.npz`. None:
            Keras' download cache. Digits come with scikit-learn.

    Returns:
        A `Dataset` with checked shapes, types and labels.

    Raises:
        ExperimentError: unknown name, missing folder or file, no network, or wrong content.

    Examples:
        >>> load("digits").x_train.shape
        (1422, 8, 8, 1)
    """
    if name not in IMAGE_SHAPES:
        raise ExperimentError(
            f"`dataset` must be one of {', '.join(IMAGE_SHAPES)}. Received: {name!r}."
        )
    if name == "digits":
        if data_dir is not None:
            raise ExperimentError(
                "The digits come with scikit-learn and are not read from a folder. Received: "
                f"--data-dir {data_dir}. Remove --data-dir."
            )
        arrays, origin = _digits(), None
    elif data_dir is None:
        arrays, origin = _download(name), "keras.datasets"
    else:
        arrays, origin = _from_folder(name, Path(data_dir))
    arrays = _checked(name, arrays)
    digest = array_hash(*arrays)
    label = KNOWN_HASHES.get(digest) or f"{TITLES[name]} ({origin or 'unverified copy'})"
    return Dataset(name, label, digest, *arrays)


def array_hash(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the shapes and bytes of the arrays, each as uint8."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, "uint8").data)
    return digest.hexdigest()


def _digits():
    # Importing scikit-learn takes a second, and only this data set needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.images.astype("uint8"),
        digits.target,
        test_size=_DIGITS_TEST,
        stratify=digits.target,
        random_state=0,
    )
    return x_train, y_train, x_test, y_test


def _download(name):
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        files = f"{FOLDER}/ or cifar10.npz" if name == "cifar10" else "mnist.npz"
        raise ExperimentError(
            f"{TITLES[name]} is not in Keras' cache and could not be downloaded ({error}). Either "
            "connect to the network and start again, or pass --data-dir with a folder that holds "
            f"{files}. --dataset digits needs neither."
        ) from error
    if name == "cifar10" and keras.config.image_data_format() == "channels_first":
        x_train, x_test = (np.moveaxis(x, 1, -1) for x in (x_train, x_test))
    return x_train, y_train, x_test, y_test


def _from_folder(name, folder):
    npz = folder / f"{name}.npz"
    if name == "cifar10":
        batches = folder if folder.name == FOLDER else folder / FOLDER
        if batches.is_dir():
            arrays, original = load_cifar_batches(batches)
            return arrays, "original files" if original else None
    if npz.is_file():
        return load_npz(npz), None
    wanted = f"{FOLDER}/ or cifar10.npz" if name == "cifar10" else npz.name
    state = "has no such file" if folder.is_dir() else "is not a folder"
    raise ExperimentError(
        f"--data-dir must be a folder with {wanted}. Received: {folder}, which {state}. Remove "
        "--data-dir to download the data."
    )


def _checked(name, arrays):
    x_train, y_train, x_test, y_test = arrays
    parts = []
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        shape = IMAGE_SHAPES[name]
        if shape[-1] == 1 and x.ndim == 3:
            x = x[..., None]
        if x.dtype != np.uint8 or x.shape[1:] != shape or len(x) == 0:
            raise ExperimentError(
                f"x_{part} of {TITLES[name]} must be uint8 of shape "
                f"(n, {', '.join(map(str, shape))}). Received: {x.dtype} of shape {x.shape}. Is it "
                "the file of another data set?"
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
            raise ExperimentError(
                f"y_{part} must hold one integer label for each of the {len(x)} images. "
                f"Received: {y.dtype} of shape {y.shape}."
            )
        if y.min() < 0 or y.max() >= CLASSES:
            raise ExperimentError(
                f"y_{part} must hold labels from 0 to {CLASSES - 1}. "
                f"Received: {y.min()} to {y.max()}."
            )
        parts += [x, y.astype("int32")]
    return tuple(parts)
