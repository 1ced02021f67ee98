"""`unfreeze_basis` and the callback `BasisFinetuning`."""

import keras
import numpy as np
import pytest

from keras_sac import BasisFinetuning, SACDense, bases
from keras_sac.layers import Orthonormal
from keras_sac.layers._optimizer_state import extended_optimizer


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def problem(rng):
    x = (rng.normal(size=(96, 10)) * np.linspace(1, 2, 10)).astype("float32")
    return x, np.tanh(x @ rng.normal(size=(10, 3))).astype("float32")


def make(x, optimizer=None, **kwargs):
    basis = bases.pca(x, rank=4)
    inputs = keras.Input((10,))
    hidden = SACDense(8, basis, activation="tanh", name="sac", **kwargs)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, name="out")(hidden))
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


class BasisLog(keras.callbacks.Callback):
    """The basis at the end of each epoch."""

    def on_train_begin(self, logs=None):
        self.bases = [numpy(self.model.get_layer("sac").basis).copy()]

    def on_epoch_end(self, epoch, logs=None):
        self.bases.append(numpy(self.model.get_layer("sac").basis).copy())


def fit(model, x, y, epochs, callbacks=(), **kwargs):
    return model.fit(
        x,
        y,
        epochs=epochs,
        batch_size=32,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **kwargs,
    )


def test_the_basis_moves_from_the_start_epoch_on(problem):
    x, y = problem
    model, log = make(x), BasisLog()
    fit(model, x, y, 4, [BasisFinetuning(start_epoch=2), log])
    moved = [
        bool(np.abs(b - a).max() > 1e-6) for a, b in zip(log.bases, log.bases[1:], strict=False)
    ]
    assert moved == [False, False, True, True]
    assert model.get_layer("sac").basis.trainable


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.8)),
    ],
)
def test_it_is_two_fits_with_the_optimizer_state_carried_over(problem, make_optimizer):
    # Reference: two calls of fit; the second optimizer gets the first one's state by name.
    x, y = problem
    model, reference = make(x, make_optimizer()), make(x, make_optimizer())
    reference.set_weights(model.get_weights())
    fit(model, x, y, 4, [BasisFinetuning(start_epoch=2)])
    fit(reference, x, y, 2)
    first = reference.optimizer
    reference.get_layer("sac").unfreeze_basis()
    second = make_optimizer()
    reference.compile(second, "mse")
    second.build(reference.trainable_variables)
    states = {v.name: v for v in first.variables}
    for variable in second.variables:
        if variable.name in states:
            variable.assign(states[variable.name])
    fit(reference, x, y, 2)
    for mine, theirs in zip(model.weights, reference.weights, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), atol=1e-5)
    assert int(numpy(model.optimizer.iterations)) == 12


def test_orthonormal_finetuning_keeps_the_columns_orthonormal(problem):
    x, y = problem
    model, log = make(x), BasisLog()
    fit(model, x, y, 3, [BasisFinetuning(start_epoch=1, orthonormal=True), log])
    assert np.abs(log.bases[-1] - log.bases[0]).max() > 1e-4
    np.testing.assert_allclose(log.bases[-1].T @ log.bases[-1], np.eye(4), atol=1e-5)


def test_a_basis_trained_from_the_beginning(problem):
    x, y = problem
    model, log = make(x, basis_trainable=True, basis_constraint=Orthonormal()), BasisLog()
    fit(model, x, y, 1, [log])
    assert np.abs(log.bases[-1] - log.bases[0]).max() > 1e-5
    np.testing.assert_allclose(log.bases[-1].T @ log.bases[-1], np.eye(4), atol=1e-5)


def test_learning_rate_from_then_on(problem):
    x, y = problem
    model, rates = make(x), []
    log = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(float(numpy(model.optimizer.learning_rate)))
    )
    fit(model, x, y, 2, [BasisFinetuning(start_epoch=1, learning_rate=0.01), log])
    assert rates == pytest.approx([0.1, 0.01])


def test_a_resumed_fit_begins_with_a_trained_basis(problem):
    x, y = problem
    model, log = make(x), BasisLog()
    fit(model, x, y, 6, [BasisFinetuning(start_epoch=2), log], initial_epoch=5)
    assert np.abs(log.bases[1] - log.bases[0]).max() > 1e-6


def test_saved_after_finetuning_and_trained_on(problem, tmp_path):
    x, y = problem
    model = make(x)
    fit(model, x, y, 2, [BasisFinetuning(start_epoch=1, orthonormal=True)])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    layer = again.get_layer("sac")
    assert layer.basis.trainable
    assert layer.basis_trainable
    fit(model, x, y, 1)
    fit(again, x, y, 1)
    for mine, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), atol=1e-6)


def test_only_the_given_layers(problem):
    x, y = problem
    inputs = keras.Input((10,))
    first = SACDense(6, bases.pca(x, rank=4))
    second = SACDense(3, "random", rank=2)
    model = keras.Model(inputs, second(first(inputs)))
    model.compile("sgd", "mse")
    fit(model, x, y, 1, [BasisFinetuning(start_epoch=0, targets=[second])])
    assert second.basis.trainable
    assert not first.basis.trainable


def test_targets_are_names_and_regular_expressions_too(problem):
    x, y = problem
    names = ("first", "second", "third")
    layers = [SACDense(3, "random", rank=2, name=name) for name in names]
    model = keras.Sequential([keras.Input((10,)), *layers])
    model.compile("sgd", "mse")
    fit(model, x, y, 1, [BasisFinetuning(start_epoch=0, targets=["first", "th.rd"])])
    assert [layer.basis.trainable for layer in layers] == [True, False, True]


@pytest.mark.parametrize("start", [-1, 1.5, True])
def test_bad_start_epoch(start):
    with pytest.raises(ValueError, match="integer >= 0"):
        BasisFinetuning(start)


def test_a_model_without_a_sac_layer(problem):
    x, y = problem
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no SAC layer"):
        fit(model, x, y, 1, [BasisFinetuning(0)])


def test_a_learning_rate_next_to_a_schedule(problem):
    x, y = problem
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    model = make(x, keras.optimizers.SGD(schedule))
    with pytest.raises(ValueError, match="LearningRateSchedule"):
        fit(model, x, y, 1, [BasisFinetuning(0, learning_rate=0.01)])
    assert not model.get_layer("sac").basis.trainable


def test_a_failure_leaves_the_basis_frozen(problem):
    class Odd(keras.optimizers.SGD):
        def build(self, variables):
            super().build(variables)
            self.odd = self.add_variable((len(variables),), name="odd")

    x, y = problem
    model = make(x, Odd(0.1))
    layer = model.get_layer("sac")
    with pytest.raises(ValueError, match="could not be carried over"):
        fit(model, x, y, 2, [BasisFinetuning(1, orthonormal=True)])
    assert not layer.basis_trainable
    assert not layer.basis.trainable
    assert layer.basis_constraint is None


def test_targets_outside_of_the_model(problem):
    x, y = problem
    other = make(x).get_layer("sac")
    for targets in ([other], [make(x).get_layer("out")], "nothing"):
        with pytest.raises(ValueError, match="nothing that can be fine-tuned.*Available: sac"):
            fit(make(x), x, y, 1, [BasisFinetuning(0, targets=targets)])
    assert not other.basis_trainable


@pytest.mark.parametrize("overwrite", [None, 2])
def test_moving_averages_begin_at_the_basis(problem, overwrite):
    x, y = problem
    optimizer = keras.optimizers.SGD(
        1e-7, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=overwrite
    )
    model = make(x, optimizer)
    before = numpy(model.get_layer("sac").basis).copy()
    fit(model, x, y, 3, [BasisFinetuning(start_epoch=1)])
    np.testing.assert_allclose(numpy(model.get_layer("sac").basis), before, atol=1e-4)


def test_with_loss_scaling_accumulation_and_validation_data(problem):
    x, y = problem
    inner = keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    inputs = keras.Input((10,))
    hidden = SACDense(8, bases.pca(x, rank=4), name="sac", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))
    model.compile(optimizer, "mse")
    log = BasisLog()
    fit(model, x, y, 4, [BasisFinetuning(start_epoch=2), log], validation_data=(x, y))
    steps = np.abs(np.diff(log.bases, axis=0)).max(axis=(1, 2))
    assert (steps > 1e-6).tolist() == [False, False, True, True]


def test_exclusions_from_weight_decay_stay(problem):
    x, y = problem
    optimizer = keras.optimizers.AdamW(1e-9, weight_decay=1e7)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model = make(x, optimizer)
    bias = model.get_layer("sac").bias
    bias.assign(np.ones(8))
    fit(model, x, y, 2, [BasisFinetuning(start_epoch=1)])
    np.testing.assert_allclose(numpy(bias), np.ones(8), atol=1e-5)


def test_the_layers_own_constraint_holds(problem):
    x, y = problem
    model = make(x, basis_constraint=Orthonormal())
    fit(model, x, y, 2, [BasisFinetuning(start_epoch=1)])
    basis = numpy(model.get_layer("sac").basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-5)
    model.get_layer("sac").freeze_basis()
    assert isinstance(model.get_layer("sac").basis_constraint, Orthonormal)


def test_an_optimizer_whose_state_does_not_carry_over(problem):
    x, _ = problem
    model = make(x)
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="could not be carried over"):
        extended_optimizer(model.optimizer, model.trainable_variables[1:])
