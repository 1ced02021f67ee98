"""Split a data set into training, validation and test part, and normalize it."""

import dataclasses
import math

import numpy as np

from harness import ExperimentError
from harness.datasets import CLASSES, Dataset


@dataclasses.dataclass(frozen=True)
class Split:
    """The data of one seed: normalized float32 samples with their labels."""

    x_train: np.ndarray  # (n, *image_shape), or (n, features) after `flat`
    y_train: np.ndarray  # (n,) int32
    x_val: np.ndarray  # the epoch is chosen on these samples
    y_val: np.ndarray
    x_test: np.ndarray  # nothing is chosen on these samples
    y_test: np.ndarray
    image_shape: tuple[int, int, int]  # height, width, channels
    classes: int = CLASSES

    def flat(self) -> "Split":
        """Return the same split with each sample as one vector, without copying."""
        parts = {name: getattr(self, name) for name in ("x_train", "x_val", "x_test")}
        return dataclasses.replace(self, **{k: x.reshape(len(x), -1) for k, x in parts.items()})


def split(dataset: Dataset, seed: int, validation_fraction: float = 0.1) -> Split:
    """Set a random part aside for validation and normalize each channel.

    `x' = (x - mean_c) / std_c`, with the mean and standard deviation of channel c over the
    training part.

    Args:
        dataset: the images.
        seed: chooses the validation samples; the same seed gives the same split on every machine.
        validation_fraction: fraction of the training samples to set aside, between 0 and 1.

    Returns:
        A `Split` of float32 arrays.

    Raises:
        ExperimentError: a part would be empty, a class is absent, or a channel is constant.
    """
    total = len(dataset.x_train)
    held_out = round(total * validation_fraction)
    if not 1 <= held_out < total:
        raise ExperimentError(
            "The training part and the validation part need at least one sample each. Received: "
            f"{total - held_out} and {held_out} samples, from a validation fraction of "
            f"{validation_fraction} of {total}. Change --validation-fraction or --limit."
        )
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(seed).permutation(total)[:held_out]] = True
    x_train, y_train = dataset.x_train[~chosen], dataset.y_train[~chosen]
    absent = sorted(set(range(CLASSES)) - set(y_train.tolist()))
    if absent:
        raise ExperimentError(
            f"The training part must hold all {CLASSES} classes. Received: {len(y_train)} samples "
            f"with none of class {', '.join(map(str, absent))}. Raise --limit."
        )
    mean, std = channel_statistics(x_train)
    if not std.all():
        raise ExperimentError(
            f"Channel {int(np.argmin(std))} of the training images is constant and cannot be "
            "normalized. Check the data."
        )
    return Split(
        _normalized(x_train, mean, std),
        y_train,
        _normalized(dataset.x_train[chosen], mean, std),
        dataset.y_train[chosen],
        _normalized(dataset.x_test, mean, std),
        dataset.y_test,
        tuple(dataset.x_train.shape[1:]),
    )


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact mean and standard deviation of each channel of uint8 images."""
    values = np.arange(256.0)
    histograms = np.zeros((images.shape[-1], 256))
    # In chunks, because bincount makes an int64 copy of its input.
    for chunk in np.array_split(images, math.ceil(len(images) / 4096)):
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(chunk[..., channel].ravel(), minlength=256)
    weights = histograms / histograms.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean, np.sqrt(variance)


def _normalized(images, mean, std):
    out = images.astype("float32")
    out -= mean.astype("float32")
    out /= std.astype("float32")
    return out
