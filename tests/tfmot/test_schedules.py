"""Schedules: with tfmot's helpers and configurations, custom ones, and those of tfmot itself."""

import warnings

import keras
import numpy as np
import pytest

from keras_sac import pruning
from keras_sac.tfmot._adapted_schedule import adapted
from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
    prune_low_magnitude,
)
from tests.tfmot.networks import compiled, fit, sequential, zeros


@pytest.fixture(scope="module")
def real():
    """`tfmot.sparsity.keras` itself, for its schedules: models it cannot prune here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_model_optimization
    return tensorflow_model_optimization.sparsity.keras


class Staircase(PruningSchedule):
    """In the style of tfmot, down to the helpers."""

    def __init__(self, sparsity, begin_step, end_step, frequency):
        self.sparsity = sparsity
        self.begin_step, self.end_step, self.frequency = begin_step, end_step, frequency
        self._validate_step(begin_step, end_step, frequency, allow_negative_1=False)
        self._validate_sparsity(sparsity, "sparsity")

    def __call__(self, step):
        return (
            self._should_prune_in_step(step, self.begin_step, self.end_step, self.frequency),
            self.sparsity,
        )

    def get_config(self):
        return {
            "class_name": "Staircase",
            "config": {
                "sparsity": self.sparsity,
                "begin_step": self.begin_step,
                "end_step": self.end_step,
                "frequency": self.frequency,
            },
        }


class ByHand:
    """No subclass of anything; returns Python values, or tensors if it is given one."""

    def __call__(self, step):
        return step == 4, 0.75

    def get_config(self):
        return {}


SCHEDULES = [
    ConstantSparsity(0.5, 3, end_step=20, frequency=4),
    PolynomialDecay(0.25, 0.75, 2, 17, power=2, frequency=5, prune_at_end=False),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
def test_they_say_what_those_of_tfmot_say(schedule, real):
    config = schedule.get_config()
    theirs = getattr(real, config["class_name"])(
        **{k: v for k, v in config["config"].items() if k != "prune_at_end"}
    )
    for step in range(25):
        due, sparsity = schedule(step)
        their_due, their_sparsity = theirs(np.int64(step))
        assert bool(due) == bool(their_due)
        np.testing.assert_allclose(float(sparsity), float(their_sparsity), rtol=1e-6)
    assert set(theirs.get_config()["config"]) <= set(config["config"])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: type(each).__name__)
def test_they_are_made_again_from_either_form_of_configuration(schedule):
    nested = schedule.get_config()
    for config in (nested, nested["config"]):
        again = type(schedule).from_config(config)
        assert again.get_config() == nested
    assert isinstance(schedule, PruningSchedule)
    assert isinstance(schedule, type(adapted(schedule)))
    assert repr(schedule) == repr(adapted(schedule))
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert restored.get_config() == nested


@pytest.mark.parametrize("begin", [0, 3])
@pytest.mark.parametrize("end", [-1, 11])
def test_the_helper_of_subclasses_is_due_when_that_of_tfmot_is(begin, end, real):
    theirs = real.ConstantSparsity(0.5, 0)
    ours = ConstantSparsity(0.5, 0)
    for step in range(20):
        expected = bool(theirs._should_prune_in_step(np.int64(step), begin, end, 4))
        assert bool(ours._should_prune_in_step(step, begin, end, 4)) == expected
        tensor = keras.ops.convert_to_tensor(step, "int32")
        assert bool(ours._should_prune_in_step(tensor, begin, end, 4)) == expected


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.5, -1, 10, 1), "begin_step=-1"),
        ((0.5, 0, -1, 1), "end_step=-1"),
        ((0.5, 4, 3, 1), "begin_step <= end_step"),
        ((0.5, 0, 10, 0), "frequency=0"),
        ((1.0, 0, 10, 1), r"`sparsity` must be a number in \[0, 1\).*sparsity=1.0"),
    ],
)
def test_the_checks_of_subclasses(arguments, text):
    with pytest.raises(ValueError, match=text):
        Staircase(*arguments)


def test_a_subclass_has_to_say_something():
    with pytest.raises(TypeError, match="abstract"):
        PruningSchedule()


@pytest.mark.parametrize("schedule", [Staircase(0.75, 2, 14, 3), ByHand()])
def test_custom_schedules_prune(schedule):
    model = compiled(prune_low_magnitude(sequential(6, 4), schedule))
    fit(model)
    assert [zeros(layer) for layer in model.layers] == [36, 18]


def test_a_custom_schedule_comes_back_from_its_configuration():
    schedule = adapted(Staircase(0.75, 2, 14, 3))
    assert schedule.end_step == 14
    config = keras.saving.serialize_keras_object(schedule)
    with keras.saving.custom_object_scope({"Staircase": Staircase}):
        restored = keras.saving.deserialize_keras_object(config)
    assert restored.schedule.get_config() == schedule.schedule.get_config()


def test_a_subclass_of_a_schedule_is_not_taken_for_it():
    class Reversed(PolynomialDecay):
        def __call__(self, step):
            return self._should_prune_in_step(step, self.begin_step, self.end_step, 1), 0.5

    model = compiled(prune_low_magnitude(sequential(6, 4), Reversed(0.1, 0.9, 1, 10)))
    fit(model)
    assert [zeros(layer) for layer in model.layers] == [24, 12]


def test_schedules_of_the_engine_stay_what_they_are():
    schedule = pruning.PolynomialDecay(0.1, 0.9, 1, 10)
    assert adapted(schedule) is schedule


def test_schedules_of_tfmot_itself_are_converted(real):
    schedule = adapted(real.PolynomialDecay(0.25, 0.75, 2, 13, power=2, frequency=4))
    assert type(schedule) is pruning.PolynomialDecay
    assert schedule.get_config() == {
        "initial_sparsity": 0.25,
        "final_sparsity": 0.75,
        "begin_step": 2,
        "end_step": 13,
        "frequency": 4,
        "power": 2,
        "prune_at_end": True,
    }
    constant = adapted(real.ConstantSparsity(0.5, np.int32(7)))
    assert type(constant) is pruning.ConstantSparsity
    assert (constant.begin_step, constant.end_step, constant.frequency) == (7, -1, 100)
    model = compiled(prune_low_magnitude(sequential(6, 4), real.PolynomialDecay(0.25, 0.75, 2, 13)))
    fit(model)
    assert [zeros(layer) for layer in model.layers] == [36, 18]


def test_schedules_derived_from_tfmot_itself_run_where_tensorflow_does(real):
    class Derived(real.PruningSchedule):
        def __call__(self, step):
            return self._should_prune_in_step(step, 2, 14, 3), 0.75

        def get_config(self):
            return {"class_name": "Derived", "config": {}}

    if keras.backend.backend() != "tensorflow":
        with pytest.raises(
            ValueError, match=r"Derived, which is written for TensorFlow.*`keras.ops`"
        ):
            prune_low_magnitude(sequential(6, 4), Derived())
        return
    model = compiled(prune_low_magnitude(sequential(6, 4), Derived()))
    fit(model)
    assert [zeros(layer) for layer in model.layers] == [36, 18]
