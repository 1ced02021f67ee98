"""Targets: what a layer, a variable, a regular expression or a callable picks."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_sac.pruning import NM, Block, ConstantSparsity, Target, Unstructured
from keras_sac.pruning._kernels import describe
from keras_sac.pruning._places import found, place
from keras_sac.pruning._targets import as_targets, choose

L = keras.layers
SCHEDULE = ConstantSparsity(0.5, begin_step=1)


@keras.saving.register_keras_serializable(package="tests")
def wide(variable):
    return variable.shape[-1] > 5


class Custom(L.Layer):
    """A layer of someone else: one matrix of an unknown name, one of two axes called bias."""

    def build(self, input_shape):
        self.mixing = self.add_weight(shape=(input_shape[-1], 4), name="mixing")
        self.bias = self.add_weight(shape=(2, 4), name="bias")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.mixing) + keras.ops.sum(self.bias, axis=0)


@pytest.fixture
def model():
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="conv")(inputs)
    x = L.DepthwiseConv2D(3, name="dw")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.GlobalAveragePooling2D()(x)
    inner = keras.Sequential([keras.Input((4,)), L.Dense(8, name="first")], name="inner")
    return keras.Model(inputs, L.Dense(3, name="last")(inner(x)))


def picked(model, targets, pattern=None):
    chosen, skipped = choose(
        model.trainable_variables, as_targets(targets), SCHEDULE, pattern or Unstructured()
    )
    paths = [choice.variable.path for choice in chosen]
    assert len(paths) + len(skipped) == len(model.trainable_variables)
    assert all(skipped.values())
    return ["/".join(path.split("/")[-2:]) for path in paths]


ALL = ["conv/kernel", "first/kernel", "last/kernel"]


def test_by_default_all_kernels_but_the_depthwise_ones(model):
    assert picked(model, None) == ALL


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (lambda m: m.get_layer("conv"), ["conv/kernel"]),
        (lambda m: m.get_layer("inner"), ["first/kernel"]),
        (lambda m: m, ALL),
        (lambda m: m.get_layer("dw").trainable_variables[0], ["dw/kernel"]),
        (lambda m: m.get_layer("conv").bias, ["conv/bias"]),
        (lambda m: m.get_layer("norm").gamma, ["norm/gamma"]),
        (lambda m: "last", ["last/kernel"]),
        (lambda m: "^conv/|first", ["conv/kernel", "first/kernel"]),
        (lambda m: r"kernel$", ALL),
        (lambda m: wide, ["first/kernel"]),
        (lambda m: lambda v: "dw" in v.path or "last" in v.path, ["last/kernel"]),
        (lambda m: [m.get_layer("last"), "conv"], ["conv/kernel", "last/kernel"]),
        (lambda m: (m.get_layer("conv").bias, wide), ["conv/bias", "first/kernel"]),
        (lambda m: Target(["last", "conv"]), ["conv/kernel", "last/kernel"]),
    ],
)
def test_a_selector_picks(model, select, expected):
    assert picked(model, select(model)) == expected


def test_a_variable_of_an_unknown_name_is_picked_by_its_layer():
    layer = Custom()
    model = keras.Sequential([keras.Input((5,)), layer])
    variables = layer.trainable_variables
    with pytest.raises(ValueError, match=r"mixing \(5, 4\): not one of the names"):
        choose(variables, None, SCHEDULE, Unstructured())
    for target in (layer, "mixing", model, lambda v: True):
        chosen, skipped = choose(variables, as_targets(target), SCHEDULE, Unstructured())
        assert [choice.variable.path for choice in chosen] == [layer.mixing.path]
        assert list(skipped) == [layer.bias.path]


def test_the_first_target_that_picks_a_variable_counts(model):
    own = ConstantSparsity(0.9, begin_step=3)
    targets = [
        Target("first", schedule=own),
        Target("kernel", pattern=NM(2, 4)),
        Target("last|bias|dw/kernel|conv", schedule=own),
    ]
    with pytest.raises(ValueError, match=r"match nothing.*'last\|bias\|dw/kernel\|conv'"):
        choose(model.trainable_variables, as_targets(targets), SCHEDULE, Unstructured())
    chosen, _ = choose(model.trainable_variables, as_targets(targets[:2]), SCHEDULE, Unstructured())
    by_name = {choice.variable.path.split("/")[-2]: choice for choice in chosen}
    assert by_name["first"].schedule is own
    assert by_name["last"].schedule is SCHEDULE
    assert isinstance(by_name["first"].pattern, Unstructured)
    assert isinstance(by_name["last"].pattern, NM)


def test_what_is_skipped_has_its_reason(model):
    _, skipped = choose(model.trainable_variables, as_targets("conv"), SCHEDULE, Unstructured())
    reasons = {"/".join(path.split("/")[-2:]): reason for path, reason in skipped.items()}
    assert reasons["last/kernel"] == "not among the targets"
    assert "depthwise" in reasons["dw/kernel"]
    assert "bias" in reasons["conv/bias"]


@pytest.mark.parametrize("target", ["nothing_has_this_name", lambda v: False, "bias$", "dw"])
def test_a_target_that_matches_nothing_is_refused(model, target):
    for targets in (target, ["conv", Target(target)]):
        with pytest.raises(ValueError, match=r"match nothing that can be pruned.*conv/kernel"):
            choose(model.trainable_variables, as_targets(targets), SCHEDULE, Unstructured())


def test_a_variable_of_another_model_matches_nothing(model):
    other = L.Dense(2)
    other.build((None, 3))
    for target in (other, other.kernel):
        with pytest.raises(ValueError, match="match nothing"):
            choose(model.trainable_variables, as_targets(target), SCHEDULE, Unstructured())


def test_a_pattern_that_does_not_fit_is_refused_for_what_is_picked_alone(model):
    with pytest.raises(ValueError, match=r"block of 2 axes.*conv/kernel"):
        picked(model, None, Block((2, 2)))
    assert picked(model, ["first", "last"], Block((2, 2))) == ["first/kernel", "last/kernel"]


def test_a_model_without_kernels_is_refused():
    layer = L.BatchNormalization()
    layer.build((None, 4))
    with pytest.raises(ValueError, match=r"Nothing can be pruned.*gamma"):
        choose(layer.trainable_variables, None, SCHEDULE, Unstructured())


@pytest.mark.parametrize("select", [3, 0.5, None, {"class": "x"}, np.ones(2)])
def test_what_is_no_selector_is_refused(select):
    with pytest.raises(ValueError, match=r"layer, a variable, a regular expression.*Received"):
        Target(select)


def test_a_bad_regular_expression_is_refused():
    with pytest.raises(ValueError, match=r"regular expression.*'conv\('"):
        Target("conv(")


def test_empty_lists_are_refused():
    with pytest.raises(ValueError, match="at least one selector"):
        Target([])
    with pytest.raises(ValueError, match="prune nothing"):
        as_targets([])


@pytest.mark.parametrize("select", [L.Dense, SCHEDULE], ids=["a class", "a schedule"])
def test_what_is_callable_but_no_function_of_a_variable_is_refused(select):
    with pytest.raises(ValueError, match="Received"):
        Target(select)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (lambda m: m.get_layer("inner"), ["first/kernel"]),
        (lambda m: m.get_layer("conv").bias, ["conv/bias"]),
        (lambda m: "first|last", ["first/kernel", "last/kernel"]),
        (lambda m: wide, ["first/kernel"]),
        (lambda m: [m.get_layer("last"), "conv", wide], ALL),
    ],
)
def test_a_target_from_a_file_picks_the_same(model, select, expected):
    target = Target(select(model), SCHEDULE, NM(1, 2))
    text = json.dumps(keras.saving.serialize_keras_object(target))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert picked(model, again) == expected
    assert again.schedule.get_config() == SCHEDULE.get_config()
    assert again.pattern.get_config() == {"n_zero": 1, "m": 2}
    # And a second time, when a function is known by what it picked.
    text = json.dumps(keras.saving.serialize_keras_object(again))
    third = keras.saving.deserialize_keras_object(json.loads(text))
    assert picked(model, third) == expected


def twins(prefix=""):
    """Two nested models whose layers, and so the paths of their variables, are called alike."""

    def inner(name):
        layers = [keras.Input((4,)), L.Dense(4, name="first"), L.Dense(4, name="first_again")]
        return keras.Sequential(layers, name=name)

    inputs = keras.Input((4,))
    left, right = inner(f"{prefix}left"), inner(f"{prefix}right")
    return keras.Model(inputs, right(left(inputs)), name=f"{prefix}net")


def indices(model, targets):
    chosen, _ = choose(model.trainable_variables, as_targets(targets), SCHEDULE, Unstructured())
    return [choice.kernel.index for choice in chosen]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (lambda m: m.get_layer("right"), [4, 6]),
        (lambda m: m.get_layer("left").layers[1].kernel, [2]),
        (lambda m: [m.get_layer("right").layers[0].bias, m.get_layer("left")], [0, 2, 5]),
    ],
)
@pytest.mark.parametrize("prefix", ["", "other_"])
def test_layers_of_one_name_in_two_nested_models_are_told_apart(select, expected, prefix):
    model = twins()
    target = Target(select(model))
    assert indices(model, target) == expected
    text = json.dumps(keras.saving.serialize_keras_object(target))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert indices(twins(prefix), again) == expected


def test_a_place_is_found_where_variables_have_moved():
    kernels = describe(twins().trainable_variables)
    named = [dataclasses.replace(k, path=f"{k.index}/kernel") for k in kernels if k.index % 2 == 0]
    places = [place(k.index, k.path, k.shape) for k in named]
    moved = [dataclasses.replace(k, index=i + 1) for i, k in enumerate(named)]
    # By the path, exact or without the name of the model in front, whoever stands there now.
    assert found(places[1:2], moved) == {2}
    model = [dataclasses.replace(k, path=f"net/{k.path}") for k in moved]
    assert found(places[1:3], model) == {2, 3}
    # By position and shape where the names are others; nowhere else.
    anew = [dataclasses.replace(k, path=f"kernel_{k.index}") for k in named]
    assert found(places[:2], anew) == {0, 2}
    assert found([place(0, "x", (4, 5)), place(99, "y", (4, 4))], anew) == set()


def test_a_target_without_schedule_and_pattern_stays_so():
    again = Target.from_config(json.loads(json.dumps(Target("conv").get_config())))
    assert again.schedule is None
    assert again.pattern is None
    assert again.selectors == ("conv",)
