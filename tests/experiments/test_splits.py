"""The split of a seed, and its normalization."""

import dataclasses

import numpy as np
import pytest

from harness import ExperimentError, datasets, splits

pytestmark = pytest.mark.backend_free


@pytest.fixture
def dataset(cifar_arrays):
    x_train, y_train, x_test, y_test = cifar_arrays
    # Channels of different mean and scale.
    x_train = (x_train * np.array([1.0, 0.5, 0.25]) + np.array([0, 20, 100])).astype("uint8")
    return datasets.Dataset("cifar10", "CIFAR-10", "-", x_train, y_train, x_test, y_test)


def test_normalized_by_the_training_part_alone(dataset):
    split = splits.split(dataset, seed=42)
    assert (len(split.x_train), len(split.x_val), len(split.x_test)) == (45, 5, 10)
    x = split.x_train.astype("float64")
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-6)
    assert split.x_train.dtype == split.x_test.dtype == np.float32


def test_parts_are_the_samples_of_the_data_set(dataset):
    split = splits.split(dataset, seed=1)
    # Undo the normalization by the map that takes the test images back.
    raw = dataset.x_test.astype("float64")
    scale = raw.std((0, 1, 2)) / split.x_test.astype("float64").std((0, 1, 2))
    shift = raw.mean((0, 1, 2)) - scale * split.x_test.astype("float64").mean((0, 1, 2))
    both = np.concatenate([split.x_train, split.x_val]) * scale + shift
    labels = np.concatenate([split.y_train, split.y_val])
    found = [
        int(np.argmin(np.abs(dataset.x_train - image).sum((1, 2, 3)))) for image in np.rint(both)
    ]
    assert sorted(found) == list(range(50))
    np.testing.assert_array_equal(dataset.y_train[found], labels)
    np.testing.assert_allclose(dataset.x_train[found], both, atol=1e-3)


def test_the_seed_decides_the_split(dataset):
    first, again, other = (splits.split(dataset, seed) for seed in (42, 42, 43))
    np.testing.assert_array_equal(first.x_val, again.x_val)
    assert not np.array_equal(first.y_val, other.y_val)


def test_channel_statistics_are_exact(dataset):
    mean, std = splits.channel_statistics(dataset.x_train)
    x = dataset.x_train.astype("float64")
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, x.std((0, 1, 2)), rtol=1e-12)


def test_flat_is_a_view(dataset):
    split = splits.split(dataset, seed=42)
    flat = split.flat()
    assert flat.x_train.shape == (45, 3072)
    assert np.shares_memory(flat.x_train, split.x_train)
    assert flat.image_shape == (32, 32, 3)


def test_parts_must_not_be_empty(dataset):
    for fraction in (0.001, 0.999):
        with pytest.raises(ExperimentError, match="Change --validation-fraction or --limit"):
            splits.split(dataset, 42, fraction)


def test_a_constant_channel_is_refused(dataset):
    x = dataset.x_train.copy()
    x[..., 1] = 7
    with pytest.raises(ExperimentError, match=r"Channel 1 .* is constant"):
        splits.split(dataclasses.replace(dataset, x_train=x), 42)


def test_an_absent_class_is_named(dataset):
    labels = np.where(dataset.y_train == 3, 4, dataset.y_train)
    with pytest.raises(
        ExperimentError, match=r"must hold all 10 classes. Received: .* none of class 3"
    ):
        splits.split(dataclasses.replace(dataset, y_train=labels), 42)
