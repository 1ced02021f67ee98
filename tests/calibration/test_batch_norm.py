"""`recalibrate_batch_norm`: statistics of data, and nothing half done."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration, convert_to_sac, recalibrate_batch_norm
from keras_sac.calibration import recalibrate_where_it_helps

CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(6, 3, use_bias=False, name="first"),
            L.BatchNormalization(name="one"),
            L.ReLU(),
            L.Conv2D(5, 3, use_bias=False, name="second"),
            L.BatchNormalization(name="two"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, name="last"),
        ]
    )


@pytest.fixture
def data(rng):
    keras.utils.set_random_seed(0)
    return rng.normal(0.3, 1.5, (50, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 50)


@pytest.mark.parametrize("batch_size", [7, 50])
def test_statistics_are_those_of_the_data_one_after_the_other(batch_size, data):
    x, _ = data
    model = network()
    recalibrate_batch_norm(model, x, batch_size=batch_size)
    inputs = x
    for conv, norm in (("first", "one"), ("second", "two")):
        made = numpy(model.get_layer(conv)(inputs)).astype("float64")
        layer = model.get_layer(norm)
        mean, variance = made.mean(axis=(0, 1, 2)), made.var(axis=(0, 1, 2))
        np.testing.assert_allclose(numpy(layer.moving_mean), mean, atol=1e-5)
        np.testing.assert_allclose(numpy(layer.moving_variance), variance, rtol=1e-4)
        # The next one receives what this one makes with its new statistics.
        inputs = np.maximum((made - mean) / np.sqrt(variance + layer.epsilon), 0).astype("float32")


def test_bad_values_change_nothing(data):
    x, _ = data
    model = network()
    before = model.get_weights()
    x[3, 2, 1, 0] = np.nan
    with pytest.raises(ValueError, match="'one'"):
        recalibrate_batch_norm(model, x)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    model.get_layer("second").kernel.assign(np.full((3, 3, 6, 5), np.inf, "float32"))
    before = model.get_weights()
    with pytest.raises(ValueError, match="'two'"):
        recalibrate_batch_norm(model, np.ones((4, 8, 8, 3), "float32"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_masked_positions_do_not_count(rng):
    x = rng.normal(size=(6, 5, 3)).astype("float32")
    x[:, 3:] = 0
    norm = L.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((5, 3)), L.Masking(), norm])
    recalibrate_batch_norm(model, x)
    np.testing.assert_allclose(numpy(norm.moving_mean), x[:, :3].mean(axis=(0, 1)), atol=1e-6)


def test_only_where_the_loss_falls(data):
    x, y = data
    model = network()
    model.compile("sgd", CE)
    recalibrate_batch_norm(model, x)
    calibration = Calibration.from_data(model, x, y, verbose=0)
    work, _ = convert_to_sac(model, calibration, rank=2, verbose=0)
    # Statistics that ruin the model: new ones lower the loss.
    norm = work.get_layer("two")
    norm.moving_mean.assign(norm.moving_mean + 5.0)
    ruined = calibration.mean_loss(work)
    assert recalibrate_where_it_helps(work, calibration)
    assert calibration.mean_loss(work) < ruined
    # A model whose loss has not risen keeps its statistics.
    before = model.get_weights()
    assert not recalibrate_where_it_helps(model, calibration)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
