"""`add_kernel_l1` against a `kernel_regularizer` given to the layer constructor."""

import keras
import numpy as np
import pytest

from keras_sac import SACDense
from keras_sac.regularization import add_kernel_l1
from tests.model.models import ALL, ends, mixed
from tests.pruning.problem import BATCH, data, fitted, model, zeros

L = keras.layers
R = keras.regularizers


def strengths(built):
    """L1 and L2 of each kernel, by the end of its path."""
    return {
        ends([v.path])[0]: tuple(float(getattr(v.regularizer, name, 0.0)) for name in ("l1", "l2"))
        for v in built.weights
        if v.regularizer is not None
    }


def penalty(built):
    return sum(float(keras.ops.convert_to_numpy(loss)) for loss in built.losses)


def sizes(built, *names):
    """The sum of |w| of the variables whose paths end so."""
    return sum(
        float(np.abs(keras.ops.convert_to_numpy(v)).sum())
        for v in built.weights
        if v.path.endswith(names)
    )


def reloaded(built, tmp_path):
    built.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def test_it_is_the_penalty_that_the_layer_could_have_had():
    built = model()
    add_kernel_l1(built, 0.01)
    expected = fitted(keras.optimizers.SGD(0.1), built=model(kernel_regularizer=R.L1(0.01)))
    fitted(keras.optimizers.SGD(0.1), built=built)
    for mine, theirs in zip(built.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert zeros(built) == [0.0, 0.0]


@pytest.mark.parametrize("again", ["fit", "compile"])
def test_a_model_that_was_fitted_before(again):
    def trained(built):
        fitted(keras.optimizers.SGD(0.1), built=built, steps=10)
        built.evaluate(*data(10), verbose=0)
        return built

    built, expected = trained(model()), trained(model())
    before = built.evaluate(*data(10), verbose=0)
    add_kernel_l1(built, 0.05)
    after = built.evaluate(*data(10), verbose=0)
    assert after - before == pytest.approx(0.05 * sizes(built, "kernel"), rel=1e-4)
    # Keras' own way: the configuration says it, and the model is made anew.
    for layer in expected.layers:
        layer.kernel_regularizer = R.L1(0.05)
    assert not expected.losses
    anew = keras.models.clone_model(expected)
    anew.set_weights(expected.get_weights())
    anew.compile(keras.optimizers.SGD(0.1), "mse")
    if again == "compile":
        built.compile(keras.optimizers.SGD(0.1), "mse")
    for each in (built, anew):
        each.fit(*data(20), batch_size=BATCH, shuffle=False, verbose=0)
    for mine, theirs in zip(built.get_weights(), anew.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_the_losses_of_the_model():
    built = mixed()
    table = add_kernel_l1(built, 0.5)
    assert penalty(built) == pytest.approx(0.5 * sizes(built, *ALL), rel=1e-5)
    assert len(built.losses) == 3
    assert ends(table["path"]) == ALL
    assert table["added"].all()
    assert table["regularizer"].tolist() == ["L1(l1=0.5)"] * 3
    assert table["weights"].tolist() == [108, 32, 24]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (lambda m: None, ALL),
        (lambda m: "conv", ["conv/kernel"]),
        (lambda m: "first", ["first/kernel"]),
        (lambda m: "inner", ["first/kernel"]),
        (lambda m: m.get_layer("inner"), ["first/kernel"]),
        (lambda m: [m.get_layer("conv"), "last"], ["conv/kernel", "last/kernel"]),
        (lambda m: ("conv", "conv"), ["conv/kernel"]),
        (lambda m: m, ALL),
    ],
)
def test_layers_narrow_it(layers, expected, tmp_path):
    built = mixed()
    table = add_kernel_l1(built, 0.25, targets=layers(built))
    assert ends(table[table["added"]]["path"]) == expected
    assert strengths(built) == dict.fromkeys(expected, (0.25, 0.0))
    assert strengths(reloaded(built, tmp_path)) == strengths(built)


MODELS = {
    "dense": (lambda: L.Dense(3), (5,), 1),
    "embedding": (lambda: L.Embedding(9, 4), (5,), 1),
    "lstm": (lambda: L.LSTM(3), (5, 4), 2),
    "gru": (lambda: L.GRU(3), (5, 4), 2),
    "simple rnn": (lambda: L.SimpleRNN(3), (5, 4), 2),
    "cells": (lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2)]), (5, 4), 4),
    "bidirectional": (lambda: L.Bidirectional(L.GRU(3)), (5, 4), 4),
    "lstm of convolutions": (lambda: L.ConvLSTM1D(3, 2), (5, 6, 4), 2),
    "conv": (lambda: L.Conv1D(3, 2), (6, 4), 1),
    "transposed": (lambda: L.Conv2DTranspose(3, 2), (6, 6, 4), 1),
    "separable": (lambda: L.SeparableConv2D(3, 2), (6, 6, 4), 1),
    "einsum": (lambda: L.EinsumDense("abc,cd->abd", (None, 7)), (4, 5), 1),
    "time distributed": (lambda: L.TimeDistributed(L.Dense(3)), (5, 4), 1),
    "sac": (lambda: SACDense(3, "random", rank=2), (4,), 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_with_a_kernel_keeps_it_in_a_file(name, tmp_path):
    make, shape, number = MODELS[name]
    built = keras.Sequential([keras.Input(shape), make()])
    table = add_kernel_l1(built, 0.5)
    assert len(table) == len(built.losses) == number
    loaded = reloaded(built, tmp_path)
    assert len(loaded.losses) == number
    assert penalty(loaded) == pytest.approx(penalty(built), rel=1e-5)
    # It is a model like any other, and can be made anew from its configuration.
    assert len(keras.models.clone_model(built).losses) == number


@pytest.mark.parametrize("layer", [L.MultiHeadAttention, L.GroupQueryAttention])
def test_layers_that_make_others_keep_it_if_all_of_them_have_it(layer, tmp_path):
    arguments = (2, 3) if layer is L.MultiHeadAttention else (3, 2, 1)
    inputs = keras.Input((5, 8))

    def make():
        attention = layer(*arguments, name="attention")
        return keras.Model(inputs, attention(inputs, inputs))

    whole = make()
    add_kernel_l1(whole, 0.5, targets="attention")
    assert len(whole.losses) == 4
    assert penalty(reloaded(whole, tmp_path)) == pytest.approx(penalty(whole), rel=1e-5)
    part = make()
    add_kernel_l1(part, 0.5, targets="query")
    assert len(part.losses) == 1
    # There is no way to say so in the configuration of the layer, so it does not say it of all.
    assert not reloaded(part, tmp_path).losses


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, (0.25, 0.0)),
        (R.L1(0.5), (0.75, 0.0)),
        (R.L2(0.5), (0.25, 0.5)),
        (R.L1L2(0.125, 0.5), (0.375, 0.5)),
        (R.L1L2(0.125), (0.375, 0.0)),
        ("l2", (0.25, pytest.approx(0.01))),
    ],
)
def test_strengths_add_up(old, new, tmp_path):
    built = model(kernel_regularizer=old, bias_regularizer=R.L2(0.5))
    add_kernel_l1(built, 0.25, targets="first")
    add_kernel_l1(built, 0.0, targets="second")
    found = strengths(built)
    assert found["first/kernel"] == new
    assert found["first/bias"] == (0.0, 0.5)
    # One regularizer for two layers is not changed for both.
    untouched = strengths(model(kernel_regularizer=old))
    assert found.get("second/kernel") == untouched.get("second/kernel")
    assert strengths(reloaded(built, tmp_path)) == found
    add_kernel_l1(built, 0.25, targets="first")
    assert strengths(built)["first/kernel"][0] == new[0] + 0.25


def test_a_shared_layer_counts_once():
    first, second = keras.Input((4,)), keras.Input((4,))
    shared = L.Dense(4, name="shared")
    built = keras.Model([first, second], shared(shared(first)) + shared(second))
    assert add_kernel_l1(built, 0.5, targets=["shared", shared])["added"].tolist() == [True]
    assert penalty(built) == pytest.approx(0.5 * sizes(built, "kernel"), rel=1e-5)


def test_a_frozen_kernel_counts_from_when_it_is_trained():
    built = model()
    built.layers[0].trainable = False
    add_kernel_l1(built, 0.5)
    assert len(built.losses) == 1
    built.layers[0].trainable = True
    assert len(built.losses) == 2


@keras.saving.register_keras_serializable(package="tests.regularization")
class Subclassed(keras.Model):
    """Makes its layers itself, one of them from an argument."""

    def __init__(self, kernel_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.kernel_regularizer = R.get(kernel_regularizer)
        self.first = L.Dense(4, kernel_regularizer=self.kernel_regularizer)
        self.second = L.Dense(2, kernel_regularizer=self.kernel_regularizer)

    def call(self, x):
        return self.second(self.first(x))

    def get_config(self):
        return {"kernel_regularizer": R.serialize(self.kernel_regularizer)}


def test_a_subclassed_model(tmp_path, rng):
    built = Subclassed()
    with pytest.raises(ValueError, match="no weights yet"):
        add_kernel_l1(built, 0.5)
    built.compile("sgd", "mse")
    x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 2))
    built.fit(x, y, verbose=0)
    assert len(add_kernel_l1(built, 0.5)) == 2
    before = sizes(built, "kernel")
    built.fit(x, y, epochs=5, verbose=0)
    assert sizes(built, "kernel") < before
    loaded = reloaded(built, tmp_path)
    assert penalty(loaded) == pytest.approx(penalty(built), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -1.0}, "`strength` must be a number >= 0. Received: strength=-1.0"),
        ({"strength": float("nan")}, "`strength` must be a number >= 0"),
        ({"strength": float("inf")}, "`strength` must be a number >= 0"),
        ({"strength": None}, "`strength` must be a number >= 0"),
        ({"targets": "frist"}, "match nothing that can be penalized.*Did you mean 'first'.*kernel"),
        ({"targets": ["first", L.Dense(2)]}, "match nothing that can be penalized"),
        ({"targets": ["first", "idle"]}, "match nothing that can be penalized"),
        ({"targets": []}, r"`targets` must be.*Received: \[\]"),
        ({"targets": 1}, "`targets` must be.*Received: 1 of type int"),
        ({}, r"L1, L2 or L1L2.*orthogonal/kernel: OrthogonalRegularizer.*is unchanged"),
        ({"targets": ["first", "plain"]}, "plain/kernel: a_penalty"),
    ],
)
def test_bad_input_changes_nothing(arguments, message):
    def a_penalty(w):
        return keras.ops.sum(w**4)

    built = keras.Sequential(
        [
            keras.Input((3,)),
            L.Dense(4, name="first", kernel_regularizer="l2"),
            L.ReLU(name="idle"),
            L.Dense(4, name="orthogonal", kernel_regularizer=R.OrthogonalRegularizer()),
            L.Dense(4, name="plain", kernel_regularizer=a_penalty),
        ]
    )
    built.compile("sgd", "mse")
    built.fit(np.ones((8, 3)), np.ones((8, 4)), verbose=0)
    before = [(v.regularizer, v.path) for v in built.weights]
    function = built.train_function
    with pytest.raises(ValueError, match=message):
        add_kernel_l1(built, **{"strength": 0.5, **arguments})
    assert [(v.regularizer, v.path) for v in built.weights] == before
    assert built.layers[0].kernel_regularizer is built.layers[0].kernel.regularizer
    assert built.train_function is function


def test_what_is_no_built_model_with_a_kernel():
    with pytest.raises(ValueError, match=r"Expected a `keras.Model`. Received: Dense"):
        add_kernel_l1(L.Dense(2), 0.1)
    with pytest.raises(ValueError, match="no weights yet"):
        add_kernel_l1(keras.Sequential([L.Dense(2)]), 0.1)
    with pytest.raises(ValueError, match="has no kernel.*gamma"):
        add_kernel_l1(keras.Sequential([keras.Input((3,)), L.BatchNormalization()]), 0.1)
