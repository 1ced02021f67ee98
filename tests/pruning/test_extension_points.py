"""The docstring examples of the extension points are complete: models with them can be loaded."""

import doctest

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PruningOptimizer
from keras_sac.pruning import Criterion, Pattern, PruningSchedule, _criteria, _patterns, _schedules
from tests.pruning.problem import data, fitted, zeros

BASES = {
    "criterion": (Criterion, _criteria),
    "pattern": (Pattern, _patterns),
    "schedule": (PruningSchedule, _schedules),
}


@pytest.fixture(params=BASES)
def example(request):
    """The argument, the class that the docstring of its base class defines, and its base class."""
    base, module = BASES[request.param]
    (test,) = doctest.DocTestFinder(recurse=False).find(base, globs=dict(vars(module)))
    runner = doctest.DocTestRunner()
    assert runner.run(test, clear_globs=False).failed == 0
    (defined,) = (
        value
        for name, value in test.globs.items()
        if isinstance(value, type) and issubclass(value, base) and name not in vars(module)
    )
    return request.param, defined


def arguments(argument, value):
    given = {"schedule": ConstantSparsity(0.5, begin_step=2, frequency=4), argument: value}
    return {"inner_optimizer": keras.optimizers.SGD(0.05), **given}


def instance(argument, defined):
    options = {
        "criterion": {"epsilon": 0.25},
        "pattern": {},
        "schedule": {"final_sparsity": 0.5, "end_step": 8, "frequency": 4},
    }
    return defined(**options[argument])


def test_a_model_compiled_with_the_example_is_saved_and_loaded(tmp_path, example):
    argument, defined = example
    built = fitted(PruningOptimizer(**arguments(argument, instance(argument, defined))))
    assert min(zeros(built)) > 0.4
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    restored = getattr(loaded.optimizer, argument)
    assert type(restored) is defined
    assert restored.get_config() == getattr(built.optimizer, argument).get_config()
    check_equal_masks(built, loaded)
    # Training continues, with the same masks in both models.
    x, y = data(steps=8)
    for model in (built, loaded):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    check_equal_masks(built, loaded)


def check_equal_masks(first, second):
    # A loaded model may have another name, and with it other paths.
    masks = (model.optimizer.masks.values() for model in (first, second))
    for mask, other in zip(*masks, strict=True):
        np.testing.assert_array_equal(mask, other)


def test_a_class_that_is_not_registered_is_saved_but_not_loaded(tmp_path):
    class Unregistered(Criterion):
        def scores(self, weight, state):
            return keras.ops.abs(weight)

    built = fitted(PruningOptimizer(**arguments("criterion", Unregistered())), steps=4)
    built.save(tmp_path / "model.keras")
    with pytest.raises(TypeError, match="Unregistered"):
        keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("base", "method", "call"),
    [
        (Criterion, "scores", lambda part: part.scores(None, {})),
        (Pattern, "group_size", lambda part: part.group_size(None)),
        (Pattern, "pool", lambda part: part.pool(None, None)),
        (Pattern, "spread", lambda part: part.spread(None, None)),
        (PruningSchedule, "__call__", lambda part: part(1)),
    ],
)
def test_a_missing_method_is_named_with_its_class(base, method, call):
    class Incomplete(base):
        pass

    with pytest.raises(NotImplementedError, match=f"Incomplete must implement `{method}`"):
        call(Incomplete())
