"""The measured costs of a model agree with NumPy and with the files themselves."""

import gzip

import keras
import numpy as np
import pytest

from harness import model_costs
from harness.splits import Split


@pytest.fixture
def model():
    made = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, activation="relu", name="hidden"),
            keras.layers.Dense(2, activation="softmax", name="head"),
        ]
    )
    weights = made.get_weights()
    weights[0][:, 0] = 0
    made.set_weights(weights)
    return made


@pytest.fixture
def split(rng):
    def part(n):
        return rng.normal(size=(n, 4)).astype("float32"), np.arange(n) % 2

    return Split(*part(9), *part(3), *part(12), image_shape=(2, 2, 1), classes=2)


def test_zeros_and_accuracy(model, split):
    kernel, bias, head, other = model.get_weights()
    hidden = np.maximum(split.x_test @ kernel + bias, 0)
    logits = hidden @ head + other
    found = model_costs.costs(model, split)
    assert found["measured_accuracy"] == np.mean(logits.argmax(axis=1) == split.y_test)
    assert found["output_sparsity"] == 0
    assert found["activations"] == {"hidden": np.mean(hidden == 0), "head": 0.0}
    assert found["activation_sparsity"] == np.sum(hidden == 0) / (12 * 5)
    # Both biases are zero.
    assert found["nonzero_weights"] == 8 + 6
    assert {"file_bytes", "gzip_bytes"} <= found.keys()


def test_bytes_are_those_of_the_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    sizes = model_costs.file_sizes(model)
    assert sizes["file_bytes"] == len(content)
    # The files contain different dates.
    assert sizes["gzip_bytes"] == pytest.approx(len(gzip.compress(content, 9)), abs=5)


def test_near_zero(model):
    kernel, bias, head, other = model.get_weights()
    model.set_weights([np.full_like(kernel, 0.5), bias, np.full_like(head, -1e-4), other])
    assert model_costs.near_zero(model, 1e-3) == 6 / 18
    model.get_layer("head").trainable = False
    assert model_costs.near_zero(model, 1e-3) == 0
