"""Masks and step of a `PruningOptimizer` in files and trees, and with other models."""

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PolynomialDecay, ProximalL1, PruningOptimizer
from keras_sac.pruning import Target
from tests.pruning.problem import data, fitted, model, zeros

Adam = keras.optimizers.Adam


def pruning():
    return PruningOptimizer(Adam(0.01), PolynomialDecay(0.1, 0.9, 0, 18, frequency=3))


def train(built, steps=4):
    x, y = data(steps)
    built.fit(x, y, batch_size=8, shuffle=False, verbose=0)


def assert_equal_masks(one, other):
    for a, b in zip(one.masks.values(), other.masks.values(), strict=True):
        np.testing.assert_array_equal(a, b)


# Of Keras, which loads the inner optimizer once more, by itself.
SKIPPED = pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer 'adam")


@SKIPPED
def test_weights_that_are_loaded_before_the_optimizer_is_built(tmp_path):
    built = fitted(pruning(), steps=20)
    built.save_weights(tmp_path / "m.weights.h5")
    again = model()
    again.compile(pruning(), "mse")
    again.load_weights(tmp_path / "m.weights.h5")
    train(built)
    train(again)
    assert again.optimizer.pruning_step == 24
    assert_equal_masks(built.optimizer, again.optimizer)
    for a, b in zip(built.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@SKIPPED
@pytest.mark.parametrize("policy", ["mixed_float16", "float32"])
def test_a_file_of_another_dtype_policy(tmp_path, policy):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        built = fitted(pruning(), steps=20, built=model())
        assert isinstance(built.optimizer, keras.optimizers.LossScaleOptimizer)
        built.save(tmp_path / "m.keras")
        keras.config.set_dtype_policy(policy)
        loaded = keras.models.load_model(tmp_path / "m.keras")
    finally:
        keras.config.set_dtype_policy(before)
    inner = getattr(loaded.optimizer, "inner_optimizer", None)
    optimizer = inner if isinstance(inner, PruningOptimizer) else loaded.optimizer
    assert optimizer.pruning_step == 20
    assert_equal_masks(built.optimizer.inner_optimizer, optimizer)
    train(loaded)
    assert zeros(loaded) == pytest.approx([0.9, 0.9], abs=0.01)


@SKIPPED
def test_state_that_does_not_fit_is_named_with_what_follows(tmp_path):
    built = fitted(Adam(0.01))
    built.save_weights(tmp_path / "m.weights.h5")
    again = model()
    optimizer = pruning()
    again.compile(optimizer, "mse")
    optimizer.build(again.trainable_variables)
    with pytest.warns(UserWarning, match="begins again at step 1.*schedule=None"):
        again.load_weights(tmp_path / "m.weights.h5")
    assert optimizer.pruning_step == 0
    np.testing.assert_array_equal(built.get_weights()[0], again.get_weights()[0])


@SKIPPED
def test_weights_without_state_of_an_optimizer_are_no_mistake(tmp_path):
    model().save_weights(tmp_path / "m.weights.h5")
    again = model()
    again.compile(pruning(), "mse")
    again.load_weights(tmp_path / "m.weights.h5")
    train(again, 20)
    assert zeros(again) == pytest.approx([0.9, 0.9], abs=0.01)


def test_the_state_tree_of_a_training_fits_a_built_optimizer():
    def net():
        keras.utils.clear_session()
        built = keras.Sequential([keras.Input((20,)), keras.layers.Dense(4, name="a")], name="net")
        built.compile(ProximalL1(pruning(), 0.0), "mse")
        return built

    built, again = net(), net()
    train(built, 20)
    tree = built.get_state_tree(value_format="numpy_array")
    again.optimizer.build(again.trainable_variables)
    assert [v.path for v in again.optimizer.variables] == [
        v.path for v in built.optimizer.variables
    ]
    again.set_state_tree(tree)
    inner = again.optimizer.inner_optimizer
    assert inner.pruning_step == 20
    assert_equal_masks(built.optimizer.inner_optimizer, inner)


@pytest.mark.parametrize("make", [pruning, lambda: ProximalL1("adam", 1e-3)])
def test_an_optimizer_of_another_model(make):
    optimizer = make()
    fitted(optimizer, steps=8)
    with pytest.raises(ValueError, match="built for other variables.*from_config"):
        fitted(optimizer, built=model())


def test_unfreezing_in_two_stages():
    built = model()
    built.layers[1].trainable = False
    optimizer = PruningOptimizer("adam", ConstantSparsity(0.75, begin_step=1))
    fitted(optimizer, built=built)
    assert zeros(built) == [0.75, 0.0]
    built.layers[1].trainable = True
    built.compile(optimizer, "mse")
    with pytest.raises(ValueError, match=r"layer\.trainable"):
        train(built)


def test_a_second_stage_keeps_the_zeros_of_the_first():
    built = model()
    built.layers[1].trainable = False
    fitted(PruningOptimizer("adam", ConstantSparsity(0.75, begin_step=1)), built=built)
    pruned = built.layers[0].get_weights()[0] == 0
    built.layers[1].trainable = True
    later = Target(built.layers[1], PolynomialDecay(0.1, 0.5, 0, 20, frequency=5))
    fitted(PruningOptimizer("adam", None, targets=[later, built.layers[0]]), built=built)
    np.testing.assert_array_equal(built.layers[0].get_weights()[0] == 0, pruned)
    assert zeros(built) == pytest.approx([0.75, 0.5], abs=0.01)
