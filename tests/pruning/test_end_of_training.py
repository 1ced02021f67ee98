"""What a training that ended without the zeros it should have says, and `apply_masks`."""

import warnings

import keras
import numpy as np
import pytest

from keras_sac import (
    ConstantSparsity,
    PolynomialDecay,
    ProximalL1,
    PruningOptimizer,
    SparsityLogger,
    apply_masks,
)
from tests.pruning.problem import data, fitted, model, zeros

SGD = keras.optimizers.SGD


def pruning(**kwargs):
    return PruningOptimizer(SGD(0.1), PolynomialDecay(0.1, 0.8, 0, 30, frequency=5), **kwargs)


def number_of(caught):
    """How many warnings there are for users, without those of libraries about themselves."""
    return sum(each.category is UserWarning for each in caught)


def stopping(**kwargs):
    # A rising rate of errors: each epoch is worse than the one before.
    return keras.callbacks.EarlyStopping(
        "sparsity", mode="min", restore_best_weights=True, **kwargs
    )


def test_weights_of_an_epoch_before_the_schedule_ended():
    built = model()
    callbacks = [SparsityLogger(), stopping(patience=30)]
    with pytest.warns(
        UserWarning, match=r"first/kernel \(80% masked, [1-6]\d% zero\).*apply_masks"
    ):
        fitted(pruning(), steps=10, built=built, epochs=4, callbacks=callbacks)
    assert max(zeros(built)) < 0.7
    table = apply_masks(built)
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)
    assert table.attrs["total"]["sparsity"] == pytest.approx(0.8, abs=0.01)
    for mask, kernel in zip(built.optimizer.masks.values(), built.get_weights()[::2], strict=True):
        assert not kernel[~mask].any()


def test_the_best_epoch_among_pruned_ones():
    built = model()
    callbacks = [SparsityLogger(), stopping(patience=30, start_from_epoch=3)]
    fitted(pruning(), steps=10, built=built, epochs=5, callbacks=callbacks)
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)


@pytest.mark.parametrize(
    "schedule",
    [
        ConstantSparsity(0.5, begin_step=100),
        PolynomialDecay(0.5, 0.8, begin_step=0, end_step=2000, frequency=100),
    ],
)
def test_a_training_that_ends_before_anything_is_pruned_says_so_once(schedule):
    built = model()
    with pytest.warns(UserWarning, match="pruned nothing in 10 updates") as caught:
        fitted(PruningOptimizer("sgd", schedule), steps=10, built=built)
    assert number_of(caught) == 1
    x, y = data(10)
    built.fit(x, y, batch_size=8, verbose=0)


class Other(keras.Model):
    """A model whose step uses an optimizer that `compile` does not know, or none."""

    def __init__(self):
        super().__init__()
        self.inner = model()

    def call(self, inputs):
        return self.inner(inputs)

    def train_step(self, *arguments):
        logs = {"seen": keras.ops.convert_to_tensor(0.0)}
        return (logs, arguments[0]) if keras.backend.backend() == "jax" else logs


@pytest.mark.parametrize("built", [True, False])
def test_an_optimizer_that_is_not_used_is_no_error(built):
    outer = Other()
    outer.build((None, 20))
    optimizer = pruning()
    outer.compile(optimizer, "mse")
    if built:
        optimizer.build(outer.trainable_variables)
    x, y = data(2)
    with pytest.warns(UserWarning, match="made no update"):
        outer.fit(x, y, verbose=0)


def spoiled(**compile_arguments):
    x, y = data(12)
    x[8 * 4] = np.nan
    built = model()
    optimizer = PruningOptimizer(SGD(0.1), ConstantSparsity(0.5, begin_step=2, frequency=3))
    built.compile(optimizer, "mse", **compile_arguments)
    with pytest.warns(UserWarning, match="Training diverged.*first/kernel") as caught:
        built.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert number_of(caught) == 1
    return built


SETTINGS = [{}, {"run_eagerly": True}]
if keras.backend.backend() != "torch":
    SETTINGS.append({"jit_compile": True})


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_a_model_that_diverged_is_nan_on_every_backend(setting):
    built = spoiled(**setting)
    for kernel in built.get_weights()[::2]:
        assert np.isnan(kernel).all()
    # A mask that hides nothing.
    assert all(mask.all() for mask in built.optimizer.masks.values())


def test_between_two_refreshes_the_mask_stays_and_the_others_are_nan():
    x, y = data(5)
    x[8 * 4] = np.nan
    built = model()
    optimizer = PruningOptimizer(SGD(0.1), ConstantSparsity(0.5, begin_step=2, frequency=10))
    built.compile(optimizer, "mse")
    with pytest.warns(UserWarning, match="Training diverged"):
        built.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    for mask, kernel in zip(optimizer.masks.values(), built.get_weights()[::2], strict=True):
        assert mask.mean() == pytest.approx(0.5)
        np.testing.assert_array_equal(np.isnan(kernel), mask)


@pytest.mark.parametrize("around", ["proximal", "loss scale"])
def test_masks_of_an_optimizer_inside_another(around):
    optimizer = pruning()
    outer = (
        ProximalL1(optimizer, 0.0)
        if around == "proximal"
        else keras.optimizers.LossScaleOptimizer(optimizer)
    )
    built = fitted(outer)
    weights = built.get_weights()
    built.set_weights([np.ones_like(w) for w in weights])
    apply_masks(built)
    assert zeros(built) == zeros_of(weights)


def zeros_of(weights):
    return [np.mean(w == 0) for w in weights if w.ndim > 1]


def test_averages_are_masked_too():
    optimizer = PruningOptimizer(
        keras.optimizers.Adam(use_ema=True), ConstantSparsity(0.5, begin_step=1)
    )
    built = fitted(optimizer)
    averages = [v for v in optimizer.variables if v.name.endswith("kernel_average")]
    for average in averages:
        average.assign(np.ones(average.shape))
    apply_masks(built)
    found = [np.mean(keras.ops.convert_to_numpy(v) == 0) for v in averages]
    assert found == pytest.approx([0.5, 0.5])


def test_no_masks():
    built = model()
    built.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"Received: optimizer=.*SGD"):
        apply_masks(built)
    built.compile(pruning(), "mse")
    with pytest.raises(ValueError, match="not built"):
        apply_masks(built)


def test_a_custom_loop_gets_the_warning_from_finalize():
    built = model()
    optimizer = PruningOptimizer(SGD(0.1), ConstantSparsity(0.5, begin_step=1))
    optimizer.build(built.trainable_variables)
    gradients = [keras.ops.zeros(v.shape) for v in built.trainable_variables]
    optimizer.apply(gradients, built.trainable_variables)
    with warnings.catch_warnings(record=True) as caught:
        optimizer.finalize_variable_values(built.trainable_variables)
    assert number_of(caught) == 0
    built.trainable_variables[0].assign(np.full((20, 16), np.nan))
    optimizer.apply(gradients, built.trainable_variables)
    with pytest.warns(UserWarning, match="diverged"):
        optimizer.finalize_variable_values(built.trainable_variables)
