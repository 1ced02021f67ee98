"""`strip_pruning`, and saved models."""

import keras
import numpy as np
import pytest

from keras_sac.pruning import PruningOptimizer
from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    PruningPolicy,
    PruningSchedule,
    UpdatePruningStep,
    prune_low_magnitude,
    prune_scope,
    strip_pruning,
)
from tests.tfmot.networks import (
    STEPS,
    Subclassed,
    compiled,
    dense,
    fit,
    schedule,
    sequential,
    zeros,
)


def trained(model, callbacks=None):
    fit(compiled(model, "adam"), callbacks=callbacks)
    return model


def reloaded(model, path, **kwargs):
    model.save(path)
    return keras.models.load_model(path, **kwargs)


def test_the_model_itself_comes_back_sparse_with_its_own_optimizer():
    model = trained(prune_low_magnitude(sequential(6, 4), schedule()))
    before, inner = model.get_weights(), model.optimizer.inner_optimizer
    assert strip_pruning(model) is model
    assert model.optimizer is inner
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [zeros(layer) for layer in model.layers] == [36, 18]
    # Trained again it is an ordinary model.
    fit(model, callbacks=[])
    assert [zeros(layer) for layer in model.layers] == [0, 0]
    compiled(model)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_a_stripped_model_can_be_pruned_again():
    model = strip_pruning(trained(prune_low_magnitude(sequential(6, 4), schedule())))
    trained(prune_low_magnitude(model, ConstantSparsity(0.5, 4, frequency=4)))
    assert model.optimizer.pruning_step == STEPS
    assert [zeros(layer) for layer in model.layers] == [24, 12]


def test_a_model_that_is_not_trained_comes_back():
    model = sequential(6, 4)
    before = model.get_weights()
    assert strip_pruning(prune_low_magnitude(model, schedule())) is model
    assert strip_pruning(compiled(prune_low_magnitude(model, schedule()))) is model
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    trained(model, callbacks=[])
    assert [zeros(layer) for layer in model.layers] == [0, 0]


def test_marks_that_nothing_has_followed_are_reported():
    model = keras.Sequential([keras.Input((8,)), prune_low_magnitude(dense(6)), dense(4)])
    fit(compiled(model), callbacks=[])
    with pytest.warns(UserWarning, match=r"No weight .* is zero .*UpdatePruningStep"):
        strip_pruning(model)


def test_marks_on_weights_that_were_loaded_sparse_are_none():
    weights = trained(prune_low_magnitude(sequential(6, 4), schedule())).get_weights()
    model = prune_low_magnitude(sequential(6, 4), schedule())
    model.set_weights(weights)
    assert [zeros(layer) for layer in strip_pruning(model).layers] == [36, 18]


def test_a_schedule_that_never_began_is_reported():
    model = prune_low_magnitude(sequential(6, 4), ConstantSparsity(0.5, 1000))
    with pytest.warns(UserWarning, match=rf"pruned nothing in {STEPS} updates"):
        trained(model)
    strip_pruning(model)
    model = prune_low_magnitude(sequential(6, 4), ConstantSparsity(0.5, 1000))
    callback = UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    callback.on_train_batch_begin()
    with pytest.warns(UserWarning, match="after 1 steps of training: the schedule asked for no"):
        strip_pruning(model)


def test_only_models_are_stripped():
    with pytest.raises(ValueError, match=r"must be a `keras.Model`.*Dense"):
        strip_pruning(prune_low_magnitude(dense(4)))


class OnlyTheFirst(PruningPolicy):
    def allow_pruning(self, layer):
        return layer.name.startswith("first")

    def ensure_model_supports_pruning(self, model):
        pass


def whole(path):
    return trained(prune_low_magnitude(sequential(6, 4), schedule()))


def by_policy(path):
    model = keras.Sequential([keras.Input((8,)), dense(6, name="first"), dense(4)])
    return trained(prune_low_magnitude(model, schedule(), pruning_policy=OnlyTheFirst()))


def by_layer(path):
    model = keras.Sequential(
        [keras.Input((8,)), prune_low_magnitude(dense(6), schedule()), dense(4)]
    )
    return trained(model)


def checkpointed(path):
    """What a checkpoint in the middle of `fit` holds of a model with a marked layer."""
    model = keras.Sequential(
        [keras.Input((8,)), prune_low_magnitude(dense(6), schedule()), dense(4)]
    )
    callbacks = [UpdatePruningStep(), keras.callbacks.ModelCheckpoint(path)]
    trained(model, callbacks)
    return keras.models.load_model(path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(whole, [36, 18]), (by_policy, [36, 0]), (by_layer, [36, 0]), (checkpointed, [36, 0])],
)
def test_a_saved_model_goes_on_pruning(make, expected, tmp_path):
    path = tmp_path / "model.keras"
    model = make(path)
    loaded = reloaded(model, path)
    assert loaded.optimizer.pruning_step == STEPS
    for mine, theirs in zip(
        loaded.optimizer.masks.values(), model.optimizer.masks.values(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    fit(loaded)
    assert loaded.optimizer.pruning_step == 2 * STEPS
    assert [zeros(layer) for layer in loaded.layers] == expected
    # And once more, from what was loaded.
    again = strip_pruning(reloaded(loaded, path))
    assert "keras_sac" not in str(again.get_compile_config())
    assert isinstance(reloaded(again, path).optimizer, keras.optimizers.Adam)


def test_a_subclassed_model_goes_on_pruning_under_other_names(tmp_path):
    model = prune_low_magnitude(Subclassed(), schedule())
    prune_low_magnitude(model.first, ConstantSparsity(0.5, 1))
    model.build((None, 8))
    trained(model)
    loaded = reloaded(model, tmp_path / "model.keras", custom_objects={"Subclassed": Subclassed})
    fit(loaded)
    assert [zeros(loaded.first), zeros(loaded.last)] == [24, 18]


def test_a_clone_prunes_as_the_model_does():
    clone = keras.models.clone_model(whole(None))
    fit(clone)
    assert [zeros(layer) for layer in clone.layers] == [36, 18]


def test_a_custom_schedule_is_saved(tmp_path):
    class Late(PruningSchedule):
        def __init__(self, sparsity):
            self.sparsity = sparsity

        def __call__(self, step):
            return self._should_prune_in_step(step, 2, -1, 3), self.sparsity

        def get_config(self):
            return {"class_name": "Late", "config": {"sparsity": self.sparsity}}

    model = trained(prune_low_magnitude(sequential(6, 4), Late(0.75)))
    loaded = reloaded(model, tmp_path / "model.keras", custom_objects={"Late": Late})
    fit(loaded)
    assert [zeros(layer) for layer in loaded.layers] == [36, 18]


def without_callback(model):
    with pytest.warns(UserWarning, match="masks were not refreshed in this training"):
        fit(model, callbacks=[])


def test_a_training_without_the_callback_is_reported_where_a_refresh_was_due(tmp_path):
    later = PolynomialDecay(0.25, 0.75, begin_step=1, end_step=40, frequency=8)
    model = trained(prune_low_magnitude(sequential(6, 4), later))
    sparse = [zeros(layer) for layer in model.layers]
    loaded = reloaded(model, tmp_path / "model.keras")
    without_callback(model)
    without_callback(loaded)
    assert [zeros(layer) for layer in loaded.layers] == sparse
    fit(loaded, epochs=2)
    assert [zeros(layer) for layer in loaded.layers] == [36, 18]
    # After the end of the schedule nothing is missed.
    fit(loaded, callbacks=[])
    assert [zeros(layer) for layer in loaded.layers] == [36, 18]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_model_in_the_old_format_goes_on_pruning_at_the_same_step(optimizer, tmp_path):
    model = prune_low_magnitude(
        sequential(6, 4), PolynomialDecay(0.25, 0.75, begin_step=1, end_step=28, frequency=3)
    )
    model.compile(optimizer, keras.losses.MeanSquaredError())
    fit(model)
    with prune_scope():
        loaded = reloaded(model, tmp_path / "model.h5")
    for each in (model, loaded):
        fit(each)
    assert loaded.optimizer.pruning_step == 2 * STEPS
    assert [zeros(layer) for layer in loaded.layers] == [36, 18]
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_stripped_model_is_saved_in_the_old_format_too(tmp_path):
    model = prune_low_magnitude(sequential(6, 4), schedule())
    model.compile("adam", keras.losses.MeanSquaredError())
    fit(model)
    loaded = reloaded(strip_pruning(model), tmp_path / "model.h5")
    assert [zeros(layer) for layer in loaded.layers] == [36, 18]


def test_the_scope_that_old_code_loads_in(tmp_path):
    model = whole(None)
    model.save(tmp_path / "model.keras")
    with prune_scope():
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, PruningOptimizer)
