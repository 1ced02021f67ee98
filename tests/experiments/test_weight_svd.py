"""Low rank by the singular value decomposition of each kernel."""

import keras
import numpy as np
import pytest

from harness import CannotRun
from harness.weight_svd import svd_model
from keras_sac import SACConv2D, SACDense, footprint


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Add()([keras.layers.Conv2D(12, 1, activation="relu", name="side")(x), x])
    x = keras.layers.Dense(20, activation="relu", name="wide")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, keras.layers.Dense(5, name="last")(x))
    generator = np.random.default_rng(1)
    model.set_weights([generator.normal(0.5, 0.1, w.shape) for w in model.get_weights()])
    return model


def truncated(kernel, rank):
    """Return the best approximation of a kernel, read by its patches."""
    matrix = np.asarray(kernel, "float64").reshape(-1, kernel.shape[-1])
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    leading = vectors[:, np.argsort(values)[::-1][:rank]]
    return (matrix @ leading @ leading.T).reshape(kernel.shape)


@pytest.mark.parametrize("ranks", ["uniform", "global"])
@pytest.mark.parametrize("budget", ["parameters", "macs"])
def test_the_budget_holds_and_the_kernels_are_the_best_of_their_rank(model, ranks, budget, rng):
    weights = model.get_weights()
    small, records = svd_model(model, ranks=ranks, budget=budget, level=0.6)
    total, before = (footprint(m).attrs["total"][budget] for m in (small, model))
    assert 0.5 * before < total <= 0.6 * before
    reference = keras.models.clone_model(model)
    reference.set_weights(weights)
    factored = {r["layer"]: r for r in records if r["method"] == "svd"}
    assert factored
    for name, record in factored.items():
        layer, kernel = small.get_layer(name), model.get_layer(name).get_weights()[0]
        assert isinstance(layer, SACDense | SACConv2D)
        assert layer.rank == record["rank"]
        best = truncated(kernel, record["rank"])
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(layer.kernel), best, atol=1e-4 * np.abs(kernel).max()
        )
        assert record["energy"] == pytest.approx((best**2).sum() / (kernel**2).sum(), rel=1e-4)
        reference.get_layer(name).set_weights([best, *model.get_layer(name).get_weights()[1:]])
    x = rng.normal(size=(4, 6, 6, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(reference(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(small(x)), expected, rtol=1e-3, atol=1e-3)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_uniform_ranks_are_the_same_fraction_and_leave_the_last_layer(model):
    small, records = svd_model(model, ranks="uniform", budget="parameters", level=0.5)
    found = {record["layer"]: record["rank"] for record in records}
    assert found["last"] is None
    assert isinstance(small.get_layer("last"), keras.layers.Dense)
    # Full ranks 12 (of 27 x 12) and 20 (of 108 x 20).
    assert found["conv"] / 12 == pytest.approx(found["wide"] / 20, abs=0.1)


def test_global_ranks_keep_more_energy_for_their_cost(model):
    def energy(ranks):
        _, records = svd_model(model, ranks=ranks, budget="macs", level=0.5)
        return np.prod([record["energy"] for record in records])

    assert energy("global") > energy("uniform")


def test_the_whole_budget_leaves_the_model_as_it_is(model, rng):
    same, records = svd_model(model, ranks="global", budget="parameters", level=1.0)
    assert {record["method"] for record in records} == {"none"}
    x = rng.normal(size=(2, 6, 6, 3)).astype("float32")
    a, b = (keras.ops.convert_to_numpy(m(x)) for m in (model, same))
    np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("ranks", ["uniform", "global"])
def test_a_budget_that_cannot_be_met(model, ranks):
    with pytest.raises(CannotRun, match="takes more than 0.001 of the parameters"):
        svd_model(model, ranks=ranks, budget="parameters", level=0.001)
