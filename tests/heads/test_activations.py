"""`sparsemax` and `entmax15` as activations: by object, by name, saved, and next to Keras' own."""

import keras
import numpy as np
import pytest

from keras_sac import entmax15, sparsemax
from keras_sac.heads import keras_sparsemax_is_wrong
from tests.children import python
from tests.heads import reference

FUNCTIONS = {"sparsemax": sparsemax, "entmax15": entmax15}


@pytest.fixture(params=FUNCTIONS)
def name(request):
    return request.param


@pytest.fixture
def rows(rng):
    return rng.normal(size=(5, 4)).astype("float32")


def head(model, x, name):
    return reference.HEADS[name](x @ model.get_weights()[0] + model.get_weights()[1])


@pytest.mark.parametrize("by_name", [True, False])
def test_saved_and_loaded_it_is_ours(name, by_name, rows, tmp_path):
    activation = f"keras_sac>{name}" if by_name else FUNCTIONS[name]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation=activation)])
    p = model.predict(rows, verbose=0)
    np.testing.assert_allclose(p, head(model, rows, name), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].activation is FUNCTIONS[name]
    np.testing.assert_array_equal(loaded.predict(rows, verbose=0), p)
    again = keras.layers.Dense.from_config(model.layers[-1].get_config())
    assert again.activation is FUNCTIONS[name]


@pytest.mark.parametrize("by_name", [True, False])
def test_a_clone_is_ours(name, by_name, rows):
    activation = f"keras_sac>{name}" if by_name else FUNCTIONS[name]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation=activation)])
    clone = keras.models.clone_model(model)
    assert clone.layers[-1].activation is FUNCTIONS[name]


LOAD = """
import pathlib, sys
import keras, numpy as np
import keras_sac
folder = pathlib.Path(sys.argv[1])
rows = np.load(folder / "rows.npy")
for path in folder.glob("*.keras"):
    model = keras.models.load_model(path)
    assert model.layers[-1].activation is getattr(keras_sac, path.stem.split("-")[0])
    np.save(path.with_suffix(".npy"), model.predict(rows, verbose=0))
"""


def test_a_fresh_process_loads_them(rows, tmp_path):
    models = {}
    for name, function in FUNCTIONS.items():
        for way, activation in (("name", f"keras_sac>{name}"), ("function", function)):
            dense = keras.layers.Dense(6, activation=activation)
            models[f"{name}-{way}"] = keras.Sequential([keras.Input((4,)), dense])
    for key, model in models.items():
        model.save(tmp_path / f"{key}.keras")
    np.save(tmp_path / "rows.npy", rows)
    python("-c", LOAD, tmp_path)
    for key, model in models.items():
        found = np.load(tmp_path / f"{key}.npy")
        np.testing.assert_allclose(found, model.predict(rows, verbose=0), atol=1e-6)


def test_the_names_of_keras_keep_their_meaning():
    """Importing a package must not change what a model computes."""
    assert keras.activations.get("sparsemax") is keras.activations.sparsemax
    assert keras.layers.Dense(3, activation="sparsemax").activation is keras.activations.sparsemax
    assert keras.activations.serialize(keras.activations.sparsemax) == "sparsemax"


def test_keras_finds_the_names_that_are_added():
    """Fails if a Keras release looks elsewhere for names; see `register_activation`."""
    for name, function in FUNCTIONS.items():
        assert keras.activations.get(f"keras_sac>{name}") is function


def test_the_installed_keras_is_looked_at(monkeypatch):
    keras_sparsemax_is_wrong.cache_clear()
    monkeypatch.setattr(keras.activations, "sparsemax", sparsemax)
    assert keras_sparsemax_is_wrong() is False
    keras_sparsemax_is_wrong.cache_clear()
    monkeypatch.setattr(keras.activations, "sparsemax", lambda x: 0.5 * x)
    assert keras_sparsemax_is_wrong() is True
    keras_sparsemax_is_wrong.cache_clear()
