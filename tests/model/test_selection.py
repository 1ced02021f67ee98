"""Selections: what a layer, a variable, a regular expression or a callable picks."""

import json

import keras
import numpy as np
import pytest

from keras_sac._model import Selection, as_selections
from tests.model.models import ALL, SELECTORS, choose, ends, mixed, twins, wide

L = keras.layers


class Custom(L.Layer):
    """A layer of someone else: one matrix of an unknown name, one of two axes called bias."""

    def build(self, input_shape):
        self.mixing = self.add_weight(shape=(input_shape[-1], 4), name="mixing")
        self.bias = self.add_weight(shape=(2, 4), name="bias")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.mixing) + keras.ops.sum(self.bias, axis=0)


@pytest.fixture
def model():
    return mixed()


def picked(model, targets):
    chosen, skipped = choose(model.trainable_variables, targets)
    paths = [kernel.path for kernel, _ in chosen]
    assert len(paths) + len(skipped) == len(model.trainable_variables)
    assert all(skipped.values())
    return ends(paths)


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
        (lambda m: Selection(["last", "conv"]), ["conv/kernel", "last/kernel"]),
    ],
)
def test_a_selector_picks(model, select, expected):
    assert picked(model, select(model)) == expected


def test_a_variable_of_an_unknown_name_is_picked_by_its_layer():
    layer = Custom()
    model = keras.Sequential([keras.Input((5,)), layer])
    variables = layer.trainable_variables
    with pytest.raises(ValueError, match=r"mixing \(5, 4\): not one of the names"):
        choose(variables, None)
    for target in (layer, "mixing", model, lambda v: True):
        chosen, skipped = choose(variables, target)
        assert [kernel.path for kernel, _ in chosen] == [layer.mixing.path]
        assert list(skipped) == [layer.bias.path]


@pytest.mark.parametrize("select", [3, 0.5, None, {"class": "x"}, np.ones(2)])
def test_what_is_no_selector_is_refused(select):
    with pytest.raises(ValueError, match=r"`targets` must be a layer, a variable.*Received"):
        Selection(select)


def test_a_bad_regular_expression_is_refused():
    with pytest.raises(ValueError, match=r"regular expression.*'conv\('"):
        Selection("conv(")


def test_empty_lists_are_refused():
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        Selection([])
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        as_selections([], Selection)


@pytest.mark.parametrize(("select", "expected"), SELECTORS)
@pytest.mark.parametrize("asked", [False, True], ids=["new", "has picked"])
def test_a_selection_from_a_file_picks_the_same(model, select, expected, asked):
    selection = Selection(select(model))
    for _ in range(2):
        # A second time, when a function is known by what it picked.
        if asked:
            assert picked(model, selection) == expected
        text = json.dumps(keras.saving.serialize_keras_object(selection))
        selection = keras.saving.deserialize_keras_object(json.loads(text))
    assert picked(model, selection) == expected


def test_one_target_is_a_sequence_of_one():
    assert as_selections(None, Selection) is None
    (selection,) = as_selections("conv", Selection)
    assert selection.selectors == ("conv",)
    assert as_selections(selection, Selection) == (selection,)


def indices(model, targets):
    chosen, _ = choose(model.trainable_variables, targets)
    return [kernel.index for kernel, _ in chosen]


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
    target = Selection(select(model))
    assert indices(model, target) == expected
    text = json.dumps(keras.saving.serialize_keras_object(target))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert indices(twins(prefix), again) == expected
