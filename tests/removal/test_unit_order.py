"""Which units go: by the loss, the outputs, scales, a sketch, and under budgets."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from small_graphs import inputs, plain

from keras_sac import Calibration, remove_units
from tests.removal.test_remove_units import data, mlp, predict


def test_labels_decide_which_units_matter():
    """Units that only an output without influence on the loss reads go first."""
    x = np.random.default_rng(0).normal(size=(400, 12)).astype("float32")
    model = mlp(units=8, outputs=4, activation=None)
    model.layers[0].set_weights([np.eye(12, 8), np.zeros(8)])
    kernel, bias = model.layers[1].get_weights()
    kernel[:4, 2:], kernel[4:, :2] = 0.0, 0.0
    kernel[4:] *= 3  # without labels, these units matter more
    model.layers[1].set_weights([kernel, bias])

    def loss(y, outputs):
        return ops.mean(ops.square(outputs[:, :2] - y))

    first = ops.convert_to_numpy(model.layers[0].kernel)[:, :4]
    labelled, _ = remove_units(
        model, x, np.ones((len(x), 2)), loss=loss, fraction=0.5, verbose=0, compensate=False
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(labelled.layers[0].kernel), first)
    without, _ = remove_units(model, x, fraction=0.5, verbose=0, compensate=False)
    assert not np.array_equal(ops.convert_to_numpy(without.layers[0].kernel), first)


def test_scales_of_batch_normalization_decide():
    model, x = plain(), inputs(plain(), samples=30)
    norm = model.get_layer("norm")
    scales = np.array([3, 0.1, -2, 0.2, 5, -0.05, 4, 6], "float32")
    norm.gamma.assign(scales)
    small, report = remove_units(
        model, x, fraction=0.375, selection="bn", compensate=False, verbose=0
    )
    np.testing.assert_array_equal(
        ops.convert_to_numpy(small.get_layer("norm").gamma), scales[np.abs(scales) > 1]
    )
    reasons = {group["layers"][0]: group["reason"] for group in report.attrs["groups"]}
    assert reasons["first"] == ""
    assert reasons["second"] == "no batch normalization scales its units"
    with pytest.raises(ValueError, match="no batch normalization scales its units"):
        remove_units(mlp(), data(), fraction=0.5, selection="bn", verbose=0)


def test_readers_with_a_sketch():
    """Wide kernels have no matrix of moments; their units go by their energy alone."""
    model, x = plain(), inputs(plain(), samples=60)
    calibration = Calibration.from_data(model, x, max_features=40, verbose=0)
    kernel = model.get_layer("wide").kernel
    value = ops.convert_to_numpy(kernel).reshape(16, 10, 12).copy()
    value[:, [2, 3, 7]] *= 1e-4
    kernel.assign(value.reshape(160, 12))
    calibration = Calibration.from_data(model, x, max_features=40, verbose=0)
    small, _ = remove_units(model, calibration, fraction=0.3, targets="second", verbose=0)
    y = predict(model, x)
    np.testing.assert_allclose(predict(small, x), y, atol=1e-2 * np.abs(y).max())


def test_budgets_take_units_where_they_matter_least():
    """A layer whose second half nothing needs loses it before another layer loses anything."""
    model, x = plain(), inputs(plain(), samples=60)
    kernel = model.get_layer("last").kernel
    kernel.assign(ops.convert_to_numpy(kernel) * (np.arange(12) < 6)[:, None])
    small, _ = remove_units(model, x, parameters=0.7, verbose=0)
    assert small.get_layer("wide").units == 6
    y = predict(model, x)
    np.testing.assert_allclose(predict(small, x), y, atol=0.05 * np.abs(y).max())


def test_without_labels_the_scale_of_outputs_does_not_matter():
    x = data()
    i = keras.Input((12,))
    branches = [L.Dense(10, activation="relu", name=n)(i) for n in ("a", "b")]
    ends = [L.Dense(4, name=f"end_{k}")(each) for k, each in enumerate(branches)]
    model = keras.Model(i, ends)
    widths = []
    for factor in (1.0, 100.0):
        end = model.get_layer("end_1")
        end.kernel.assign(ops.convert_to_numpy(end.kernel) * factor)
        small, _ = remove_units(model, x, parameters=0.6, verbose=0)
        widths.append([small.get_layer(n).units for n in ("a", "b")])
    assert widths[0] == widths[1]
