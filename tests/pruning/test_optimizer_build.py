"""Building a `PruningOptimizer`: targets, saved files, invalid arguments."""

import keras
import numpy as np
import pytest

from keras_sac import ConstantSparsity, PolynomialDecay, PruningOptimizer
from keras_sac.pruning import OBD, Block, Target
from tests.pruning.problem import data, fitted, model, zeros

SGD = keras.optimizers.SGD
LossScale = keras.optimizers.LossScaleOptimizer


def schedule():
    return PolynomialDecay(0.5, 0.8, begin_step=0, end_step=38, frequency=5)


def test_another_optimizer_is_not_left_half_built():
    built = model()
    optimizer = PruningOptimizer(SGD(), schedule(), pattern=Block((2, 2, 2)))
    number = len(optimizer.variables)
    with pytest.raises(ValueError, match="does not fit"):
        optimizer.build(built.trainable_variables)
    assert not optimizer.built
    assert len(optimizer.variables) == number
    assert zeros(built) == [0.0, 0.0]


def test_built_for_other_variables():
    optimizer = PruningOptimizer(SGD(), schedule())
    first, second = model(), model()
    optimizer.build(first.trainable_variables)
    optimizer.build(first.trainable_variables)
    with pytest.raises(ValueError, match="built for other variables"):
        optimizer.build(second.trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 0.8}, "must be a `PruningSchedule`"),
        ({"criterion": "size"}, "criterion"),
        ({"pattern": "3:4"}, "pattern"),
        ({"distribution": "model"}, "distribution"),
        ({"targets": []}, r"Received: \[\]"),
        ({"targets": 3}, "`targets` must be"),
        ({"targets": "("}, "regular expression"),
        ({"inner_optimizer": PruningOptimizer("sgd", None)}, "must not be or contain"),
        ({"inner_optimizer": LossScale(PruningOptimizer("sgd", None))}, "must not be or contain"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"inner_optimizer": "sgd", "schedule": schedule(), **arguments}
    with pytest.raises(ValueError, match=message):
        PruningOptimizer(**arguments)


def test_targets_that_match_nothing():
    optimizer = PruningOptimizer("sgd", schedule(), targets=["first", Target("third")])
    with pytest.raises(ValueError, match="third.*first/kernel"):
        optimizer.build(model().trainable_variables)


@pytest.mark.parametrize("select", ["uniform", "variable", "callable"])
def test_targets_come_back_from_a_file(tmp_path, select):
    built = model()
    layer = built.layers[1]
    target = {"uniform": layer, "variable": layer.kernel, "callable": lambda v: v is layer.kernel}
    fitted(PruningOptimizer(SGD(0.1), schedule(), targets=target[select]), built=built)
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    (mask,) = built.optimizer.masks.values()
    (again,) = loaded.optimizer.masks.values()
    np.testing.assert_array_equal(mask, again)


def test_a_model_that_is_built_in_fit():
    layers = [keras.layers.Dense(16), keras.layers.Dense(4)]
    built = keras.Sequential(layers)
    fitted(PruningOptimizer(SGD(0.01), schedule()), built=built)
    assert zeros(built) == pytest.approx([0.8, 0.8], abs=0.01)


def test_a_model_that_is_built_in_fit_is_pruned_before_the_first_batch_or_not_at_all():
    early = keras.Sequential([keras.layers.Dense(16)])
    early.compile(PruningOptimizer(SGD(0.01), ConstantSparsity(0.75, begin_step=1)), "mse")
    x = data()[0]
    if keras.backend.backend() == "tensorflow":
        # Its weights are made inside the graph of the first step.
        with pytest.raises(ValueError, match="no values yet"):
            early.fit(x, x[:, :16], verbose=0)
        return
    early.fit(x, x[:, :16], verbose=0)
    assert zeros(early) == [0.75]


def test_masks_before_it_is_built():
    with pytest.raises(ValueError, match="no masks yet"):
        _ = PruningOptimizer("sgd", schedule()).masks


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Block((4, 1)), "Block(size=(4, 1), pooling='AVG')"),
        (OBD(momentum=0.5), "OBD(momentum=0.5)"),
        (
            Target("first", ConstantSparsity(0.5, 1), Block((2, 2))),
            "Target('first', schedule=ConstantSparsity(target_sparsity=0.5, begin_step=1, "
            "end_step=-1, frequency=100), pattern=Block(size=(2, 2), pooling='AVG'))",
        ),
        (
            PruningOptimizer(SGD(), None, criterion=OBD()),
            "PruningOptimizer(SGD, None, criterion=OBD(momentum=0.99), pattern=Unstructured(), "
            "distribution='uniform')",
        ),
    ],
)
def test_what_is_printed_is_one_line(part, text):
    assert repr(part) == text


def test_a_target_prints_the_names_of_layers_and_variables():
    built = model()
    assert repr(Target(built.layers[0])).startswith("Target(sequential")
    assert "first/kernel" in repr(Target([built.layers[0].kernel, "second"]))
