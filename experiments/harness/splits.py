"""Training, validation and test part of a data set, normalised by the training part."""

import dataclasses
import math

import numpy as np

from harness.datasets import CLASSES, Dataset
from harness.errors import ExperimentError


@dataclasses.dataclass(frozen=True)
class Split:
    """What a model of one seed sees; the samples are float32 and normalised.

    Args:
        x_train: `(n, *image_shape)`, or `(n, features)` after `flat`; likewise the others.
        y_train: `(n,)` int32.
        x_val: Samples that choose the epoch.
        y_val: Their labels.
        x_test: Samples that nothing is chosen on.
        y_test: Their labels.
        image_shape: `(height, width, channels)`.
        classes: Number of classes.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    image_shape: tuple[int, int, int]
    classes: int = CLASSES

    def flat(self) -> "Split":
        """Return the same split with each sample as one vector (views, no copies)."""
        parts = {name: getattr(self, name) for name in ("x_train", "x_val", "x_test")}
        return dataclasses.replace(self, **{k: x.reshape(len(x), -1) for k, x in parts.items()})


def split(dataset: Dataset, seed: int, validation_fraction: float = 0.1) -> Split:
    """Set a random part aside for validation and normalise each channel.

    `x' = (x - mean_c) / std_c`, with mean and standard deviation of channel c over the training
    part alone.

    Args:
        dataset: The images.
        seed: Chooses the validation samples; the same seed gives the same split everywhere.
        validation_fraction: Share of the training samples set aside, between 0 and 1.

    Returns:
        A `Split` of float32 arrays.

    Raises:
        ExperimentError: A part would be empty, a class is absent, or a channel is constant.
    """
    total = len(dataset.x_train)
    held_out = round(total * validation_fraction)
    if not 1 <= held_out < total:
        raise ExperimentError(
            f"a validation fraction of {validation_fraction} of {total} training samples leaves "
            f"{total - held_out} to train on and {held_out} to choose the epoch: both must be at "
            "least 1. Change --validation-fraction or --limit."
        )
    chosen = np.zeros(total, bool)
    chosen[np.random.default_rng(seed).permutation(total)[:held_out]] = True
    x_train, y_train = dataset.x_train[~chosen], dataset.y_train[~chosen]
    absent = sorted(set(range(CLASSES)) - set(y_train.tolist()))
    if absent:
        raise ExperimentError(
            f"the {len(y_train)} samples to train on have none of class "
            f"{', '.join(map(str, absent))}: expected all {CLASSES} classes. Raise --limit."
        )
    mean, std = channel_statistics(x_train)
    if not std.all():
        raise ExperimentError(
            f"channel {int(np.argmin(std))} of the training images is constant, so it cannot be "
            "normalised: expected images that differ. Check the data."
        )
    return Split(
        _normalised(x_train, mean, std),
        y_train,
        _normalised(dataset.x_train[chosen], mean, std),
        dataset.y_train[chosen],
        _normalised(dataset.x_test, mean, std),
        dataset.y_test,
        tuple(dataset.x_train.shape[1:]),
    )


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and standard deviation of each channel, from a histogram of the uint8 values.

    Args:
        images: `(n, height, width, channels)` uint8.

    Returns:
        Mean and standard deviation, each `(channels,)` float64.
    """
    values = np.arange(256.0)
    histograms = np.zeros((images.shape[-1], 256))
    # In chunks: bincount makes an int64 copy of what it counts.
    for chunk in np.array_split(images, math.ceil(len(images) / 4096)):
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(chunk[..., channel].ravel(), minlength=256)
    weights = histograms / histograms.sum(axis=1, keepdims=True)
    mean = weights @ values
    variance = (weights * (values - mean[:, None]) ** 2).sum(axis=1)
    return mean, np.sqrt(variance)


def _normalised(images, mean, std):
    out = images.astype("float32")
    out -= mean.astype("float32")
    out /= std.astype("float32")
    return out
