"""A trained model is made smaller in the same way on every backend."""

import keras
import numpy as np
import pytest
from keras import layers as L

from keras_sac import Calibration, convert_to_sac, prune_with_data
from tests.children import python
from tests.marks import READERS

CHILD = """
import sys
import keras
from tests.integration.test_compression_backends import compress
compress(keras.models.load_model(sys.argv[1] + "/model.keras", compile=False), sys.argv[1])
"""


def network():
    return keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            L.Conv2D(16, 3, padding="same", use_bias=False, name="first"),
            L.BatchNormalization(name="norm"),
            L.ReLU(),
            L.Conv2D(24, 3, strides=2, activation="relu", name="second"),
            L.Flatten(),
            L.Dense(20, activation="relu", name="wide"),
            L.Dense(4, name="last"),
        ]
    )


def compress(model, folder):
    """Compress a model with the data of a folder, and write what came out there."""
    with np.load(f"{folder}/data.npz") as data:
        x, y = data["x"], data["y"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    calibration = Calibration.from_data(model, x, y, loss=loss, verbose=0)
    small, low_rank = convert_to_sac(model, calibration, macs=0.5, round_to=4, verbose=0)
    arrays = {
        "ranks": low_rank["rank"].fillna(0).to_numpy(float),
        "readings": low_rank["reading"].astype(str).to_numpy(str),
        "predicted": low_rank["predicted_loss"].to_numpy(float),
        "small": small.predict(x, verbose=0),
    }
    for criterion in ("wanda", "admm"):
        sparse, zeros = prune_with_data(
            model, calibration, sparsity=0.8, criterion=criterion, verbose=0
        )
        arrays[f"{criterion}_sparsity"] = zeros["sparsity"].to_numpy(float)
        arrays[f"{criterion}_measured"] = zeros["measured_loss"].to_numpy(float)
        arrays[f"{criterion}_outputs"] = sparse.predict(x, verbose=0)
    np.savez(f"{folder}/{keras.backend.backend()}.npz", **arrays)


@pytest.mark.parametrize("other", READERS)
def test_two_backends_agree(other, rng, tmp_path):
    keras.utils.set_random_seed(0)
    x = rng.normal(size=(600, 10, 10, 3)).astype("float32")
    x[:, 1:] += x[:, :-1]
    np.savez(tmp_path / "data.npz", x=x, y=rng.integers(0, 4, len(x)))
    model = network()
    model.save(tmp_path / "model.keras")
    compress(model, tmp_path)
    python("-c", CHILD, tmp_path, KERAS_BACKEND=other)
    here = np.load(tmp_path / f"{keras.backend.backend()}.npz")
    there = np.load(tmp_path / f"{other}.npz")
    for name in ("ranks", "readings", "wanda_sparsity", "admm_sparsity"):
        np.testing.assert_array_equal(here[name], there[name], name)
    for name in ("predicted", "wanda_measured"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-2, atol=1e-5, err_msg=name)
    for name in ("small", "wanda_outputs"):
        scale = np.abs(here[name]).max()
        np.testing.assert_allclose(here[name], there[name], atol=2e-3 * scale, err_msg=name)
    # ADMM decides 30 times what to keep, each time from what it kept before: one weight whose
    # rank rounding changes moves some hundred others, of another kernel that is as good.
    np.testing.assert_allclose(here["admm_measured"], there["admm_measured"], rtol=0.1)
