"""Operations of each kind of layer, against hand counts and the counter of torch."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import (
    KernelAxes,
    LayerKind,
    SACConv2D,
    SACDense,
    SACEinsumDense,
    register_layer,
)
from keras_sac.analysis._macs import macs_of
from tests.children import python

IMAGE, SERIES = (9, 8, 4), (7, 5)
# Layer, shape of its input, operations of a sample.
CASES = {
    "dense": (lambda: layers.Dense(6), (5,), 5 * 6),
    "dense on a grid": (lambda: layers.Dense(6), (3, 2, 5), 3 * 2 * 5 * 6),
    "einsum": (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3)), (7, 5), 7 * 5 * 2 * 3),
    "einsum left": (lambda: layers.EinsumDense("...x,xy->...y", 6), (4, 3, 5), 4 * 3 * 5 * 6),
    "einsum right": (lambda: layers.EinsumDense("ab...,bc->ac...", 6), (5, 4, 3), 5 * 4 * 3 * 6),
    "conv": (
        lambda: layers.Conv2D(6, (3, 2), strides=2, dilation_rate=1),
        IMAGE,
        (4 * 4) * (3 * 2 * 4 * 6),
    ),
    "conv in groups": (lambda: layers.Conv2D(6, 3, groups=2), IMAGE, (7 * 6) * (9 * 2 * 6)),
    "conv causal": (
        lambda: layers.Conv1D(6, 3, padding="causal", dilation_rate=2),
        SERIES,
        7 * 3 * 5 * 6,
    ),
    "conv 3d": (lambda: layers.Conv3D(2, 2), (4, 5, 3, 2), (3 * 4 * 2) * (8 * 2 * 2)),
    "depthwise": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        IMAGE,
        (9 * 8) * (9 * 4 * 2) / (1 * 1),
    ),
    "separable": (
        lambda: layers.SeparableConv2D(6, 3, strides=2, padding="same"),
        (10, 8, 4),
        (5 * 4) * (9 * 4 + 4 * 6),
    ),
    "transposed": (lambda: layers.Conv2DTranspose(6, 3, strides=2), IMAGE, (9 * 8) * (9 * 4 * 6)),
    "simple recurrent": (lambda: layers.SimpleRNN(6), SERIES, 7 * (5 * 6 + 6 * 6)),
    "lstm": (lambda: layers.LSTM(6), SERIES, 7 * 4 * (5 * 6 + 6 * 6)),
    "gru": (lambda: layers.GRU(6, return_sequences=True), SERIES, 7 * 3 * (5 * 6 + 6 * 6)),
    "both ways": (lambda: layers.Bidirectional(layers.LSTM(6)), SERIES, 2 * 7 * 4 * (30 + 36)),
    "each step": (lambda: layers.TimeDistributed(layers.Dense(3)), (7, 2, 5), 7 * 2 * 5 * 3),
    "each step, a model": (
        lambda: layers.TimeDistributed(
            keras.Sequential([keras.Input((2, 5)), layers.Conv1D(3, 2), layers.Dense(4)])
        ),
        (7, 2, 5),
        7 * (2 * 5 * 3 + 3 * 4),
    ),
    "each step, recurrent": (
        lambda: layers.TimeDistributed(layers.LSTM(6)),
        (3, *SERIES),
        3 * 7 * 4 * (5 * 6 + 6 * 6),
    ),
    "cell": (lambda: layers.RNN(layers.LSTMCell(6)), SERIES, 7 * 4 * (5 * 6 + 6 * 6)),
    "cells": (
        lambda: layers.RNN([layers.SimpleRNNCell(6), layers.GRUCell(2)]),
        SERIES,
        7 * (5 * 6 + 6 * 6 + 3 * (6 * 2 + 2 * 2)),
    ),
    "cell both ways": (
        lambda: layers.Bidirectional(layers.RNN(layers.GRUCell(6))),
        SERIES,
        2 * 7 * 3 * (5 * 6 + 6 * 6),
    ),
    "recurrent conv": (
        lambda: layers.ConvLSTM2D(6, 3, return_sequences=True),
        (5, *IMAGE),
        5 * (7 * 6) * 9 * 4 * (4 * 6 + 6 * 6),
    ),
    "recurrent conv, last state": (
        lambda: layers.ConvLSTM1D(6, 3, strides=2, padding="same"),
        (5, *SERIES),
        5 * 4 * 3 * 4 * (5 * 6 + 6 * 6),
    ),
    "spectral": (lambda: layers.SpectralNormalization(layers.Conv1D(6, 3)), SERIES, 5 * 3 * 5 * 6),
    "scale of many axes": (lambda: layers.RMSNormalization(axis=[1, 2]), SERIES, 0),
    "normalisation": (lambda: layers.LayerNormalization(axis=[1, 2, 3]), IMAGE, 0),
    "pooling": (lambda: layers.MaxPooling2D(), IMAGE, 0),
    "subspace": (lambda: SACDense(8, "random", rank=2), (4, 10), 4 * 2 * (10 + 8)),
    "subspace, merged": (lambda: SACDense(8, "random", rank=6), (10,), 10 * 8),
    "subspace conv": (
        lambda: SACConv2D(16, 3, basis="random", rank=5),
        IMAGE,
        (7 * 6) * 5 * (9 * 4 + 16),
    ),
    "subspace einsum": (
        lambda: SACEinsumDense("abc,cde->abde", (None, 4, 3), "random", rank=2),
        (7, 10),
        7 * 2 * (10 + 12),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name):
    make, shape, expected = CASES[name]
    model = keras.Sequential([keras.Input(shape), make()])
    found = macs_of(model)
    assert sum(each.dense for each in found.values()) == expected
    assert sum(each.effective for each in found.values()) == expected


def test_zeros_cost_nothing():
    model = keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), SACDense(20, "random", rank=2)]
    )
    convolution, subspace = model.layers
    convolution.kernel.assign(np.arange(54).reshape(3, 3, 2, 3) % 3 == 0)
    subspace.learner.assign(np.eye(2, 20))
    found = macs_of(model)
    assert found[id(convolution)].effective == 16 * 18
    assert found[id(subspace)].dense == 16 * 2 * (3 + 20)
    assert found[id(subspace)].effective == 16 * (3 * 2 + 2)


def test_calls_of_a_shared_layer_add_up():
    shared = layers.Dense(4)
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), shared])
    model = keras.Model(inputs, shared(inner(shared(inputs))))
    assert macs_of(model)[id(shared)].dense == 3 * 16


def test_a_batch_of_its_own_size_counts_by_the_sample():
    model = keras.Sequential([keras.Input(batch_shape=(5, 4)), layers.Dense(3)])
    assert sum(each.dense for each in macs_of(model).values()) == 12
    stateful = keras.Sequential([keras.Input(batch_shape=(5, 7, 4)), layers.GRU(3, stateful=True)])
    for sample in (None, np.zeros((2, 7, 4), "float32")):
        found = macs_of(stateful, sample)
        assert sum(each.dense for each in found.values()) == 7 * 3 * (4 * 3 + 3 * 3)


class OnceForEachSample(LayerKind):
    def kernels(self, layer):
        return {"kernel": KernelAxes(inputs=(0,), outputs=(1,))}

    def uses(self, layer, input_shape, output_shape):
        return input_shape[0]


class ByName(OnceForEachSample):
    def uses(self, layer, input_shape, output_shape):
        return {"kernel": 2, "other": 5}


def test_a_class_that_is_not_known():
    class Own(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 3))

        def call(self, inputs):
            return keras.ops.matmul(keras.ops.matmul(inputs, self.kernel), keras.ops.ones((3, 1)))

        def compute_output_shape(self, shape):
            return (*shape[:-1], 1)

    layer = Own()
    model = keras.Sequential([keras.Input((4,)), layer, layers.Dense(2)])
    steps = keras.Sequential([keras.Input((7, 4)), layers.TimeDistributed(Own())])
    assert macs_of(model)[id(layer)].dense is None
    assert [each.dense for each in macs_of(steps).values()] == [0, None]
    register_layer(Own, ByName())
    assert macs_of(model)[id(layer)].dense == 24
    register_layer(Own, OnceForEachSample())
    assert macs_of(model)[id(layer)].dense == 12
    assert [each.dense for each in macs_of(steps).values()] == [0, 7 * 12]


COUNTER = """
import json, sys
import keras, torch
from torch.utils.flop_counter import FlopCounterMode
from tests.analysis.test_macs import CASES
found = {}
for name in json.loads(sys.argv[1]):
    make, shape, expected = CASES[name]
    model = keras.Sequential([keras.Input(shape), make()])
    x = torch.zeros((1, *shape))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x, training=False)
    found[name] = counter.get_total_flops() / 2
print(json.dumps(found))
"""


@pytest.mark.slow
def test_torch_counts_the_same():
    # All that torch counts: not its recurrent layers, nor einsum, which it takes apart.
    names = [n for n, (_, _, macs) in CASES.items() if macs and "recurrent" not in n]
    names = [n for n in names if n not in ("lstm", "gru", "both ways", "subspace, merged")]
    names = [n for n in names if "cell" not in n]
    printed = python("-c", COUNTER, json.dumps(names), KERAS_BACKEND="torch")
    found = json.loads(printed)
    assert found == {name: CASES[name][2] for name in names}
