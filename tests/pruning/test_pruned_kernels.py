"""`Target`: the kernels it selects, with its own schedule or pattern."""

import json

import keras
import pytest

from keras_sac.pruning import NM, Block, ConstantSparsity, Filters, Target, Unstructured
from keras_sac.pruning._pruned_kernels import as_targets, select_pruned
from tests.model.models import SELECTORS, ends, mixed

L = keras.layers
SCHEDULE = ConstantSparsity(0.5, begin_step=1)


@pytest.fixture
def model():
    return mixed()


def picked(model, targets, pattern=None):
    chosen, skipped = select_pruned(
        model.trainable_variables, as_targets(targets), SCHEDULE, pattern or Unstructured()
    )
    paths = [choice.variable.path for choice in chosen]
    assert len(paths) + len(skipped) == len(model.trainable_variables)
    assert all(skipped.values())
    return ends(paths)


def test_a_pattern_on_guessed_axes_warns_once_for_all():
    class UpBlock(L.Conv2DTranspose):
        pass

    layers = [keras.Input((6, 6, 4)), UpBlock(4, 3, name="up"), UpBlock(4, 3, name="higher")]
    model = keras.Sequential(layers)
    variables = model.trainable_variables
    with pytest.warns(UserWarning, match=r"up/kernel .*axis 3.*higher/kernel.*Pass the layers"):
        select_pruned(variables, None, SCHEDULE, Filters())
    # Warnings are errors here.
    select_pruned(variables, None, SCHEDULE, Unstructured())
    chosen, _ = select_pruned(variables, as_targets(model.layers), SCHEDULE, Filters())
    assert [each.kernel.output_axis for each in chosen] == [2, 2]


def test_the_first_target_that_picks_a_variable_counts(model):
    own = ConstantSparsity(0.9, begin_step=3)
    targets = [
        Target("first", schedule=own),
        Target("kernel", pattern=NM(m=4, n_zeros=2)),
        Target("last|bias|dw/kernel|conv", schedule=own),
    ]
    with pytest.raises(ValueError, match=r"match nothing.*'last\|bias\|dw/kernel\|conv'"):
        select_pruned(model.trainable_variables, as_targets(targets), SCHEDULE, Unstructured())
    chosen, _ = select_pruned(
        model.trainable_variables, as_targets(targets[:2]), SCHEDULE, Unstructured()
    )
    by_name = {choice.variable.path.split("/")[-2]: choice for choice in chosen}
    assert by_name["first"].schedule is own
    assert by_name["last"].schedule is SCHEDULE
    assert isinstance(by_name["first"].pattern, Unstructured)
    assert isinstance(by_name["last"].pattern, NM)


def test_a_pattern_that_does_not_fit_is_refused_for_what_is_picked_alone(model):
    with pytest.raises(ValueError, match=r"size=\(2, 2\).*does not fit.*conv/kernel"):
        picked(model, None, Block((2, 2)))
    assert picked(model, ["first", "last"], Block((2, 2))) == ["first/kernel", "last/kernel"]


def test_a_target_without_schedule_and_pattern_stays_so():
    again = Target.from_config(json.loads(json.dumps(Target("conv").get_config())))
    assert again.schedule is None
    assert again.pattern is None
    assert again.selectors == ("conv",)


@pytest.mark.parametrize(("select", "expected"), SELECTORS)
def test_a_target_from_a_file_picks_the_same(model, select, expected):
    target = Target(select(model), SCHEDULE, NM(m=2, n_zeros=1))
    text = json.dumps(keras.saving.serialize_keras_object(target))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert picked(model, again) == expected
    assert again.schedule.get_config() == SCHEDULE.get_config()
    assert again.pattern.get_config() == {"m": 2, "n_zeros": 1}
    # And a second time, when a function is known by what it picked.
    text = json.dumps(keras.saving.serialize_keras_object(again))
    third = keras.saving.deserialize_keras_object(json.loads(text))
    assert picked(model, third) == expected


@pytest.mark.parametrize("select", [L.Dense, SCHEDULE], ids=["a class", "a schedule"])
def test_what_is_callable_but_no_function_of_a_variable_is_refused(select):
    with pytest.raises(ValueError, match="Received"):
        Target(select)
