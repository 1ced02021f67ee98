"""`prune_low_magnitude`: its arguments, the pruning in `fit`, and its errors."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac.pruning import PruningOptimizer, Target
from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    prune_low_magnitude,
    strip_pruning,
)
from tests.tfmot.networks import (
    STEPS,
    Subclassed,
    begun,
    compiled,
    dense,
    fit,
    schedule,
    sequential,
    zeros,
)


def functional():
    inputs = keras.Input((8,))
    hidden = dense(6, activation="relu")(inputs)
    return keras.Model(inputs, layers.Concatenate()([dense(2)(hidden), dense(2)(hidden)]))


def nested():
    return keras.Sequential([keras.Input((8,)), sequential(6, 5), functional_of(5), dense(4)])


def functional_of(extent):
    inputs = keras.Input((extent,))
    return keras.Model(inputs, dense(6)(inputs))


@pytest.mark.parametrize("make", [lambda: sequential(6, 4), functional, nested, Subclassed])
def test_a_model_is_pruned_in_place_by_its_own_optimizer(make):
    model = make()
    assert prune_low_magnitude(model, schedule()) is model
    compiled(model, "adam")
    model.build((None, 8))
    fit(model)
    kernels = [v for v in model.trainable_variables if v.name == "kernel"]
    assert len(kernels) >= 2
    for kernel in kernels:
        values = keras.ops.convert_to_numpy(kernel)
        assert np.count_nonzero(values) == round(values.size * 0.25)
    assert set(model.optimizer.masks) == {kernel.path for kernel in kernels}
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)


def test_the_default_prunes_half_every_hundred_steps():
    model = compiled(prune_low_magnitude(sequential(4)))
    with pytest.warns(UserWarning, match="pruned nothing in 96 updates"):
        fit(model, epochs=6)
    assert zeros(model.layers[0]) == 0
    fit(model, epochs=1)
    assert zeros(model.layers[0]) == 16


def test_the_final_sparsity_is_reached_where_the_frequency_does_not_lead_there():
    model = prune_low_magnitude(sequential(4), PolynomialDecay(0.25, 0.75, 0, 13, frequency=5))
    fit(compiled(model))
    assert zeros(model.layers[0]) == 24
    strict = PolynomialDecay(0.25, 0.75, 0, 13, frequency=5, prune_at_end=False)
    model = prune_low_magnitude(sequential(4), strict)
    fit(compiled(model))
    # Of step 10: 0.75 - 0.5 (3 / 13)^3 = 0.7439, and 32 of that is 23.8.
    assert zeros(model.layers[0]) == 24
    model = prune_low_magnitude(sequential(4), PolynomialDecay(0, 0.75, 0, 13, frequency=8))
    fit(compiled(model))
    assert zeros(model.layers[0]) == 24


def test_marking_changes_nothing_but_the_marks_and_asks_for_compile():
    model = compiled(sequential(4))
    before = dict(vars(model))
    prune_low_magnitude(model, schedule())
    assert {key for key, value in vars(model).items() if before.get(key) is not value} <= {
        "_pruning_mark",
        "_pruning_state",
        "optimizer",
        "compiled",
    }
    assert model.optimizer is None
    with pytest.raises(ValueError, match=r"You must call `compile\(\)`"):
        fit(model)
    fit(compiled(model))
    assert zeros(model.layers[0]) == 24


def test_compiling_again_goes_on_at_the_same_step():
    model = compiled(prune_low_magnitude(sequential(4), schedule()))
    fit(model)
    before = model.get_weights()[0]
    model.compile(keras.optimizers.SGD(1e-3), "mae")
    fit(model)
    assert model.optimizer.pruning_step == 32
    np.testing.assert_array_equal(model.get_weights()[0] == 0, before == 0)
    # With its own optimizer it goes on too.
    model.compile(model.optimizer, "mse")
    fit(model)
    assert model.optimizer.pruning_step == 48


def test_layers_keep_what_they_were_marked_with_when_their_model_is():
    model = sequential(6, 4, 4)
    first, second, third = model.layers
    assert prune_low_magnitude(second, ConstantSparsity(0.5, 1)) is second
    prune_low_magnitude(model, schedule())
    fit(compiled(model))
    assert [zeros(first), zeros(second), zeros(third)] == [36, 12, 12]


def test_the_last_call_on_a_model_counts():
    model = prune_low_magnitude(sequential(6, 4), schedule())
    prune_low_magnitude(model, ConstantSparsity(0.5, 1))
    fit(compiled(model))
    assert [zeros(layer) for layer in model.layers] == [24, 12]
    # After a training too: it starts again.
    prune_low_magnitude(model, ConstantSparsity(0.75, 1))
    assert model.optimizer is None
    fit(compiled(model))
    assert model.optimizer.pruning_step == STEPS
    assert [zeros(layer) for layer in model.layers] == [36, 18]


def test_a_list_is_pruned_layer_by_layer():
    given = [dense(6), layers.ReLU(), dense(4)]
    pruned = prune_low_magnitude(given, schedule())
    assert all(a is b for a, b in zip(given, pruned, strict=True))
    model = compiled(keras.Sequential([keras.Input((8,)), *pruned]))
    fit(model)
    assert [zeros(given[0]), zeros(given[2])] == [36, 18]


def test_marked_layers_are_pruned_in_every_model_that_is_made_of_them():
    model = prune_low_magnitude(sequential(6, 5, 4), schedule())
    head = keras.Model(model.inputs, model.layers[1].output)
    head = compiled(keras.Sequential([head, dense(4)]))
    fit(head)
    assert [zeros(layer) for layer in (*model.layers[:2], head.layers[-1])] == [36, 22, 0]


def test_blocks():
    model = prune_low_magnitude(
        sequential(6, inputs=9), ConstantSparsity(0.5, 1), block_size=[2, 3]
    )
    fit(compiled(model), inputs=9, outputs=6)
    kernel = np.pad(model.get_weights()[0], ((0, 1), (0, 0)))
    whole = np.abs(kernel).reshape(5, 2, 2, 3).sum((1, 3))
    assert np.count_nonzero(whole) == 5
    assert np.count_nonzero(kernel[:8].reshape(4, 2, 2, 3).any((1, 3))) * 6 == np.count_nonzero(
        kernel[:8]
    )


def test_blocks_are_for_two_axes():
    model = keras.Sequential([layers.Conv2D(4, 3, name="conv"), layers.Flatten(), dense(4)])
    text = r"conv/kernel.* of shape \(3, 3, 3, 4\).*pruning_policy"
    # Not built yet, so nobody knows.
    compiled(prune_low_magnitude(model, block_size=(2, 2)))
    model.build((None, 6, 6, 3))
    with pytest.raises(ValueError, match=text):
        begun(model)
    with pytest.raises(ValueError, match=text):
        prune_low_magnitude(model, block_size=(2, 2))


def test_two_of_four_are_zero_before_the_first_batch_and_refreshed_by_the_schedule():
    model = prune_low_magnitude(sequential(6), sparsity_m_by_n=(2, 4))
    begun(compiled(model, keras.optimizers.SGD(0.3)))
    first = model.get_weights()[0]
    assert (np.count_nonzero(first.reshape(2, 4, 6), axis=1) == 2).all()
    fit(model, epochs=6, outputs=6)
    np.testing.assert_array_equal(model.get_weights()[0] == 0, first == 0)
    fit(model, epochs=1, outputs=6)
    last = model.get_weights()[0]
    assert (np.count_nonzero(last.reshape(2, 4, 6), axis=1) == 2).all()
    assert ((last == 0) != (first == 0)).any()


def test_the_input_shape_of_a_first_layer():
    layer = prune_low_magnitude(dense(4), ConstantSparsity(0.5, 1), input_shape=(8,))
    model = keras.Sequential([layer])
    assert model.input_shape == (None, 8)


def test_the_loss_is_still_scaled_under_float16():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = sequential(6, 4)
    finally:
        keras.config.set_dtype_policy("float32")
    fit(compiled(prune_low_magnitude(model, ConstantSparsity(0.5, 1)), "adam"))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(model.optimizer.inner_optimizer, PruningOptimizer)
    assert [zeros(layer) for layer in model.layers] == [24, 12]
    strip_pruning(model)
    assert isinstance(model.optimizer.inner_optimizer, keras.optimizers.Adam)


def test_a_model_is_not_pruned_twice():
    model = prune_low_magnitude(sequential(4))
    compiled(model, PruningOptimizer("sgd", ConstantSparsity(0.5, 1), targets=Target("kernel")))
    with pytest.raises(ValueError, match="pruned twice"):
        fit(model)


@pytest.mark.parametrize("with_input", [True, False])
@pytest.mark.parametrize("marked", ["without weights", "frozen"])
def test_a_model_trains_whose_marked_layers_have_nothing_to_prune(marked, with_input):
    start = [keras.Input((8,))] if with_input else []
    layer = layers.Flatten() if marked == "without weights" else dense(8, trainable=False)
    model = keras.Sequential([*start, prune_low_magnitude(layer, schedule()), dense(4)])
    compiled(model)
    before = zeros(model.layers[1]) if with_input else 0
    with pytest.warns(UserWarning, match="found nothing to prune|frozen"):
        fit(model)
    assert zeros(model.layers[1]) == before
    assert len(strip_pruning(model).get_weights()) == (2 if marked == "without weights" else 4)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"to_prune": layers.Dense}, ValueError, "of type builtins.type"),
        ({"to_prune": "model"}, ValueError, "of type builtins.str"),
        (
            {"block_size": 2},
            ValueError,
            "`block_size` must be two integers >= 1. Received: block_size=2",
        ),
        ({"block_size": (0, 1)}, ValueError, r"block_size=\(0, 1\)"),
        ({"block_pooling_type": "SUM"}, ValueError, '"AVG" or "MAX"'),
        ({"sparsity_m_by_n": (4, 2)}, ValueError, r"1 <= n < m.*sparsity_m_by_n=\(4, 2\)"),
        ({"sparsity_m_by_n": 2}, ValueError, "`sparsity_m_by_n` must be two integers"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (2, 2)}, ValueError, "cannot be combined"),
        ({"pruning_schedule": 0.5}, ValueError, "pruning_schedule=0.5"),
        ({"activation": "relu"}, TypeError, "'activation'"),
        ({"to_prune": [dense(4)], "input_shape": (8,)}, TypeError, "for a single layer"),
    ],
)
def test_wrong_arguments(kwargs, error, text):
    with pytest.raises(error, match=text):
        prune_low_magnitude(**{"to_prune": dense(4), **kwargs})
