"""Load a sparse file into an existing model: all weights or none."""

import keras
import numpy as np
import pytest

from keras_sac import load_sparse, save_sparse
from tests.sparse_file.sparse_models import dense, nested, numbers, pruned

layers = keras.layers


def test_into_a_model_that_is_there(rng, tmp_path):
    model, x = pruned(nested, rng)
    path = save_sparse(model, tmp_path / "m")
    other = nested()
    other.compile("adam", "mse")
    other.fit(x, np.zeros((5, 2)), verbose=0)
    state = [np.array(keras.ops.convert_to_numpy(v)) for v in other.optimizer.variables]
    assert load_sparse(path, model=other) is other
    np.testing.assert_array_equal(model.predict(x, verbose=0), other.predict(x, verbose=0))
    for before, after in zip(state, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(after))
    assert other.compiled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stack: stack[:-1], r"only in the file: layers/dense_1/vars/0 \(30, 4\)"),
        (lambda stack: [*stack, layers.Dense(2)], r"only in the model: layers/dense_2/vars/0 "),
        (lambda stack: [*stack[:-1], layers.Dense(5)], r"of another shape: .* \(30, 5\), not"),
    ],
)
def test_into_another_model(tmp_path, change, message):
    path = save_sparse(dense(), tmp_path / "m")
    other = keras.Sequential([keras.Input((20,)), *change(dense().layers)])
    before = numbers(other)
    with pytest.raises(ValueError, match=message):
        load_sparse(path, model=other)
    for weight, now in zip(before, numbers(other), strict=True):
        np.testing.assert_array_equal(weight, now)


def test_a_model_that_fails_half_way_is_as_it_was(rng, tmp_path, monkeypatch):
    path = save_sparse(dense(), tmp_path / "m")
    model, _ = pruned(dense, rng)
    before = numbers(model)
    load, calls = keras.Model.load_weights, []

    def failing(self, file):
        load(self, file)
        calls.append(file)
        if len(calls) == 1:
            assert not np.array_equal(numbers(model)[0], before[0])
            raise RuntimeError("no more memory")

    monkeypatch.setattr(keras.Model, "load_weights", failing)
    with pytest.raises(RuntimeError, match="no more memory"):
        load_sparse(path, model=model)
    for weight, now in zip(before, numbers(model), strict=True):
        np.testing.assert_array_equal(weight, now)
