"""The functions as activations: by object, by name, saved, and beside Keras' own."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import entmax15, sparsemax
from keras_sac.heads import _keras_sparsemax as _activations
from keras_sac.heads import keras_sparsemax_is_wrong
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


def test_the_plain_name_is_ours_too_and_says_that_keras_is_wrong(rows, monkeypatch, tmp_path):
    _activations._warn_once.cache_clear()
    _activations.keras_sparsemax_is_wrong.cache_clear()
    monkeypatch.setattr(_activations, "keras_sparsemax_is_wrong", lambda: True)
    layer = keras.layers.Dense(6, activation="sparsemax")
    layer.build((None, 4))
    with pytest.warns(UserWarning, match=r"of Keras .* is wrong: it gives \[0, 0, 0.25\]"):
        p = ops.convert_to_numpy(layer(rows))
    kernel, bias = layer.get_weights()
    np.testing.assert_allclose(p, reference.sparsemax(rows @ kernel + bias), atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras.activations.get("sparsemax")(ops.convert_to_tensor(rows))  # once is enough
    again = keras.layers.Dense.from_config(layer.get_config())
    assert again.activation is sparsemax


def test_the_plain_name_in_a_model_that_is_traced_first(rows):
    _activations._warn_once.cache_clear()
    keras_sparsemax_is_wrong.cache_clear()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, activation="sparsemax")])
    model.compile("sgd", "mse")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        p = model.predict(rows, verbose=0)
        model.fit(rows, p, verbose=0)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    keras_sparsemax_is_wrong.cache_clear()
    assert keras_sparsemax_is_wrong() in (True, False)


def test_where_keras_is_right_there_is_no_warning(rows, monkeypatch):
    _activations._warn_once.cache_clear()
    monkeypatch.setattr(_activations, "keras_sparsemax_is_wrong", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras.activations.get("sparsemax")(ops.convert_to_tensor(rows))


def test_the_installed_keras_is_looked_at(monkeypatch):
    keras_sparsemax_is_wrong.cache_clear()
    monkeypatch.setattr(keras.activations, "sparsemax", sparsemax)
    assert keras_sparsemax_is_wrong() is False
    keras_sparsemax_is_wrong.cache_clear()
    monkeypatch.setattr(keras.activations, "sparsemax", lambda x: 0.5 * x)
    assert keras_sparsemax_is_wrong() is True
    keras_sparsemax_is_wrong.cache_clear()
