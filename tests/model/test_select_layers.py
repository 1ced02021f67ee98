"""`targets=` as layers, and names among the targets of kernels."""

import keras
import pytest

from keras_sac import PruningOptimizer, add_kernel_l1, prune_to_sparsity
from keras_sac._model import all_layers, select_layers
from tests.model.models import choose, ends, mixed, twins

L = keras.layers


@pytest.fixture
def model():
    return mixed()


def dense_layers(model):
    return [layer for layer in all_layers(model) if isinstance(layer, L.Dense)]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (lambda m: None, ["first", "last"]),
        (lambda m: "last", ["last"]),
        (lambda m: "inner", ["first"]),
        (lambda m: "^inner/", ["first"]),
        (lambda m: "first|last", ["first", "last"]),
        (lambda m: m.get_layer("last"), ["last"]),
        (lambda m: m.get_layer("inner"), ["first"]),
        (lambda m: m, ["first", "last"]),
        (lambda m: m.get_layer("last").bias, ["last"]),
        (lambda m: lambda v: v.shape[-1] == 3, ["last"]),
        (lambda m: ["last", m.get_layer("inner")], ["first", "last"]),
        (lambda m: ("last", "last"), ["last"]),
    ],
)
def test_layers_that_targets_select(model, targets, expected):
    found = select_layers(model, targets(model), dense_layers(model), purpose="painted")
    assert [layer.name for layer in found] == expected


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("lasst", r"nothing that can be painted.*'lasst'.*Did you mean 'last'.*Available: .*last"),
        (["last", "conv"], r"nothing that can be painted.*'conv'"),
        (L.Dense(2, name="stranger"), r"nothing that can be painted.*<Dense stranger>"),
        (lambda v: False, "nothing that can be painted"),
        ([], r"`targets` must be.*Received: \[\]"),
        (3, "`targets` must be.*Received: 3 of type int"),
        ("(", "regular expression. Received: '\\('"),
    ],
)
def test_targets_that_are_wrong(model, targets, message):
    with pytest.raises(ValueError, match=message):
        select_layers(model, targets, dense_layers(model), purpose="painted")


def named(*names):
    layers = [L.Dense(4, name=name) for name in names]
    return keras.Sequential([keras.Input((4,)), *layers])


def test_a_name_is_the_layer_of_that_name_alone():
    model = named("dense", "dense_1", "not_dense")
    chosen, _ = choose(model.trainable_variables, "dense")
    assert ends(kernel.path for kernel, _ in chosen) == ["dense/kernel"]
    # What is no name is searched for in the paths.
    chosen, _ = choose(model.trainable_variables, "dense_?1?/kernel")
    assert ends(kernel.path for kernel, _ in chosen) == [
        "dense/kernel",
        "dense_1/kernel",
        "not_dense/kernel",
    ]
    # The name of a variable is no name of a layer.
    assert len(choose(model.trainable_variables, "kernel")[0]) == 3


def test_a_name_that_two_layers_have_is_refused():
    model = twins()
    message = "Several layers have the name 'first' in `targets`"
    for use in (
        lambda: choose(model.trainable_variables, "first"),
        lambda: select_layers(model, "first", dense_layers(model), purpose="painted"),
        lambda: prune_to_sparsity(model, 0.5, targets="first"),
        lambda: add_kernel_l1(model, 0.1, targets="first"),
        lambda: PruningOptimizer("sgd", None, targets="first").build(model.trainable_variables),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    # The layers themselves are not ambiguous.
    assert len(choose(model.trainable_variables, model.layers[1].layers[0])[0]) == 1
