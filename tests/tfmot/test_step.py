"""`UpdatePruningStep`: in `fit`, and in custom training loops."""

import keras
import numpy as np
import pytest

from keras_sac.pruning import PruningOptimizer
from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    UpdatePruningStep,
    prune_low_magnitude,
    strip_pruning,
)
from tests.tfmot.gradients import gradients
from tests.tfmot.networks import STEPS, compiled, dense, fit, schedule, sequential, zeros


def with_a_marked_layer(pruning_schedule):
    layer = prune_low_magnitude(dense(6), pruning_schedule)
    return compiled(keras.Sequential([keras.Input((8,)), layer, dense(4)]))


def test_it_prunes_layers_that_were_marked_before_their_model_existed():
    model = with_a_marked_layer(schedule())
    inner = model.optimizer
    fit(model)
    assert isinstance(model.optimizer, PruningOptimizer)
    assert model.optimizer.inner_optimizer is inner
    assert [zeros(layer) for layer in model.layers] == [36, 0]


def test_it_gives_what_the_optimizer_gives_that_prunes_from_the_start():
    weights = sequential(6, 4).get_weights()
    results = []
    for in_fit in (True, False):
        model = with_a_marked_layer(schedule()) if in_fit else sequential(6, 4)
        model.set_weights(weights)
        if not in_fit:
            compiled(model, PruningOptimizer("sgd", schedule(), targets=model.layers[0]))
        fit(model)
        results.append(model.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_second_fit_goes_on():
    model = with_a_marked_layer(ConstantSparsity(0.5, 1))
    for _ in range(2):
        fit(model)
    assert model.optimizer.pruning_step == 2 * STEPS


def test_another_optimizer_goes_on_at_the_same_step_with_the_same_masks():
    model = with_a_marked_layer(schedule())
    fit(model)
    before = model.get_weights()[0]
    compiled(model, "adam")
    fit(model)
    assert model.optimizer.pruning_step == 2 * STEPS
    np.testing.assert_array_equal(model.get_weights()[0] == 0, before == 0)


def test_with_gradient_accumulation_a_step_is_an_update():
    model = prune_low_magnitude(sequential(6, 4), PolynomialDecay(0.25, 0.75, 1, 8, frequency=1))
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    fit(compiled(model, optimizer))
    assert model.optimizer.pruning_step == STEPS // 2
    assert [zeros(layer) for layer in model.layers] == [36, 18]


def test_a_model_with_nothing_marked_is_reported():
    model = compiled(sequential(4))
    with pytest.warns(UserWarning, match="found nothing to prune"):
        fit(model)


def test_layers_that_are_marked_after_a_training_are_an_error():
    model = sequential(6, 4)
    prune_low_magnitude(model.layers[0], ConstantSparsity(0.5, 1))
    compiled(model)
    fit(model)
    prune_low_magnitude(model.layers[1], ConstantSparsity(0.5, 1))
    with pytest.raises(ValueError, match=r"after an earlier training: .*Call `compile` again"):
        fit(model)
    compiled(model)
    fit(model)
    assert [zeros(layer) for layer in model.layers] == [24, 12]


def loop(model, optimizer, callback, epochs=1):
    """Train as `fit` does, with an optimizer that knows nothing of pruning."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4 * STEPS, 8)).astype("float32")
    y = rng.integers(0, 4, size=4 * STEPS).astype("int32")
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(epochs):
        for first in range(0, len(x), 4):
            callback.on_train_batch_begin(first // 4)
            grads = gradients(model, x[first : first + 4], y[first : first + 4])
            optimizer.apply(grads, model.trainable_variables)
        callback.on_epoch_end(epoch)


def test_it_prunes_in_a_custom_loop_as_the_optimizer_does():
    weights = sequential(6, 4).get_weights()
    results = []
    for by_callback in (True, False):
        model = sequential(6, 4)
        model.set_weights(weights)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        callback = UpdatePruningStep() if by_callback else keras.callbacks.Callback()
        if by_callback:
            prune_low_magnitude(model, schedule())
        else:
            optimizer = PruningOptimizer(optimizer, schedule())
            # As `fit` does, before the first batch.
            optimizer.build(model.trainable_variables)
        loop(model, optimizer, callback, epochs=2)
        results.append(strip_pruning(model).get_weights())
    assert np.count_nonzero(results[0][0]) == 12
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a == 0, b == 0)
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_loop_goes_on_with_a_new_callback():
    model = prune_low_magnitude(sequential(6, 4), PolynomialDecay(0.25, 0.75, 1, 28, frequency=3))
    optimizer = keras.optimizers.SGD(0.1)
    loop(model, optimizer, UpdatePruningStep())
    assert zeros(model.layers[0]) < 36
    loop(model, optimizer, UpdatePruningStep())
    assert zeros(model.layers[0]) == 36


def test_a_loop_may_build_the_model_in_its_first_batch():
    model = keras.Sequential([dense(6), dense(4)])
    prune_low_magnitude(model, schedule())
    callback = UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    for batch in range(STEPS):
        callback.on_train_batch_begin(batch)
        model(np.ones((4, 8), "float32"))
    callback.on_epoch_end(0)
    assert [zeros(layer) for layer in model.layers] == [36, 18]


@pytest.mark.parametrize("of_the_model", [True, False])
def test_a_loop_may_use_any_optimizer_of_a_compiled_model(of_the_model):
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule()))
    optimizer = model.optimizer if of_the_model else keras.optimizers.SGD(0.1)
    loop(model, optimizer, UpdatePruningStep())
    assert not isinstance(model.optimizer, PruningOptimizer)
    assert [zeros(layer) for layer in strip_pruning(model).layers] == [36, 18]


def test_a_loop_after_fit_uses_the_optimizer_of_the_model():
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule()))
    fit(model)
    loop(model, model.optimizer, UpdatePruningStep())
    assert model.optimizer.pruning_step == 2 * STEPS
    assert [zeros(layer) for layer in model.layers] == [36, 18]


def test_a_loop_after_fit_with_another_optimizer_is_reported():
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule()))
    fit(model)
    with pytest.warns(UserWarning, match="made no update in this epoch"):
        loop(model, keras.optimizers.SGD(0.1), UpdatePruningStep())


def test_without_the_callback_nothing_is_pruned():
    """In tfmot `fit` raises; here `strip_pruning` warns."""
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule()))
    fit(model, callbacks=[])
    assert [zeros(layer) for layer in model.layers] == [0, 0]
    with pytest.warns(UserWarning, match="Train it with the callback `UpdatePruningStep"):
        strip_pruning(model)


def test_a_model_that_is_built_in_fit():
    model = keras.Sequential([dense(6), dense(4)])
    prune_low_magnitude(model, ConstantSparsity(0.75, 4, frequency=4))
    fit(compiled(model))
    assert [zeros(layer) for layer in model.layers] == [36, 18]
