"""Which weights are pruned: composite, unknown, custom and frozen layers, and policies."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PrunableLayer,
    PruningPolicy,
    prune_low_magnitude,
)
from tests.tfmot.networks import Subclassed, begun, compiled, dense, fit, sequential, zeros


class WithOwnKernel(layers.Layer):
    """A custom layer, with a kernel by another name."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4), name="w")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.w)


class Named(PruningPolicy):
    """Prunes layers by their names, of models with at most five."""

    def __init__(self, *names):
        self.names = names

    def allow_pruning(self, layer):
        return layer.name in self.names

    def ensure_model_supports_pruning(self, model):
        if len(model.layers) > 5:
            raise ValueError("too large")


def test_composite_layers_are_pruned_inside():
    inputs = keras.Input((6, 8))
    attention = layers.MultiHeadAttention(2, 4)
    recurrent = layers.Bidirectional(layers.LSTM(3))
    model = keras.Model(inputs, dense(4)(recurrent(attention(inputs, inputs))))
    begun(compiled(prune_low_magnitude(model, ConstantSparsity(0.5, 1))))
    report = model.optimizer.report().set_index("path")["pruned"]
    assert report.sum() == 4 + 4 + 1
    assert {path.split("/")[-1] for path in report[report].index} == {"kernel", "recurrent_kernel"}


def test_unsuited_weights_are_left_alone_without_a_word():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.DepthwiseConv2D(3),
            layers.SeparableConv2D(4, 3),
            layers.BatchNormalization(),
            layers.LayerNormalization(axis=(1, 2)),
            layers.Flatten(),
            dense(4),
        ]
    )
    begun(compiled(prune_low_magnitude(model, ConstantSparsity(0.5, 1), strict=True)))
    assert {path.split("/")[-1] for path in model.optimizer.masks} == {"pointwise_kernel", "kernel"}
    assert len(model.optimizer.masks) == 2


def test_unknown_layers_are_reported():
    model = keras.Sequential([keras.Input((8,)), dense(6), WithOwnKernel(name="mine")])
    with pytest.warns(UserWarning, match=r"mine \(WithOwnKernel: w\).*get_prunable_weights"):
        prune_low_magnitude(model, ConstantSparsity(0.5, 1))
    fit(compiled(model))
    assert [zeros(layer) for layer in model.layers] == [24, 0]


def test_unknown_layers_are_an_error_under_strict():
    model = keras.Sequential([keras.Input((8,)), dense(6), WithOwnKernel(name="mine")])
    with pytest.raises(ValueError, match=r"mine \(WithOwnKernel: w\)"):
        prune_low_magnitude(model, strict=True)


def test_unknown_layers_that_are_not_built_are_reported_when_they_are():
    layer = prune_low_magnitude(WithOwnKernel(name="mine"), ConstantSparsity(0.5, 1))
    first = prune_low_magnitude(dense(6), ConstantSparsity(0.5, 1))
    model = compiled(keras.Sequential([keras.Input((8,)), first, layer]))
    with pytest.warns(UserWarning, match="mine"):
        fit(model)
    assert [zeros(first), zeros(layer)] == [24, 0]


def test_a_layer_says_itself_what_is_pruned():
    class Mine(WithOwnKernel, PrunableLayer):
        def get_prunable_weights(self):
            return [self.w]

    class OnlyTheBias(layers.Dense):
        def get_prunable_weights(self):
            return [self.bias]

    model = keras.Sequential(
        [keras.Input((8,)), OnlyTheBias(6, bias_initializer="uniform"), Mine()]
    )
    fit(compiled(prune_low_magnitude(model, ConstantSparsity(0.5, 1), strict=True)))
    assert np.count_nonzero(model.layers[0].get_weights()[1]) == 3
    assert [zeros(layer) for layer in model.layers] == [0, 12]


def test_what_a_layer_says_must_be_variables():
    class Wrong(layers.Dense):
        def get_prunable_weights(self):
            return [self.kernel + 0]

    model = keras.Sequential([keras.Input((8,)), Wrong(4, name="wrong")])
    with pytest.raises(ValueError, match="`get_prunable_weights` of 'wrong' must return variables"):
        prune_low_magnitude(model)


def test_a_policy_chooses_the_layers_of_a_model():
    inner = keras.Sequential([keras.Input((6,)), dense(5, name="b"), dense(5, name="c")])
    model = keras.Sequential([keras.Input((8,)), dense(6, name="a"), inner, dense(4, name="d")])
    prune_low_magnitude(model, ConstantSparsity(0.5, 1), pruning_policy=Named("a", "c"))
    fit(compiled(model))
    found = [zeros(layer) for layer in (model.layers[0], *inner.layers, model.layers[-1])]
    # Of 25, 12.5 is rounded to the even 12 that stay.
    assert found == [24, 0, 13, 0]


def test_a_policy_is_asked_about_layers_that_are_made_later():
    model = Subclassed()
    prune_low_magnitude(model, ConstantSparsity(0.5, 1), pruning_policy=Named("dense_last"))
    model.build((None, 8))
    model.last.name = "dense_last"
    fit(compiled(model))
    assert [zeros(model.first), zeros(model.last)] == [0, 12]


def test_a_policy_chooses_from_a_list_and_refuses_models():
    given = [dense(6, name="a"), dense(4, name="b")]
    prune_low_magnitude(given, ConstantSparsity(0.5, 1), pruning_policy=Named("b"))
    model = compiled(keras.Sequential([keras.Input((8,)), *given]))
    fit(model)
    assert [zeros(layer) for layer in given] == [0, 12]
    with pytest.raises(ValueError, match="too large"):
        prune_low_magnitude(sequential(*[4] * 6), pruning_policy=Named("a"))


def test_frozen_weights_are_reported():
    model = sequential(6, 4)
    model.layers[0].trainable = False
    with pytest.warns(UserWarning, match="are not pruned because they are frozen: .*kernel"):
        prune_low_magnitude(model, ConstantSparsity(0.5, 1))
    fit(compiled(model))
    assert [zeros(layer) for layer in model.layers] == [0, 12]
