"""How often kernels are used: by trying each weight, and what attention and embeddings do."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac._model import kind_of
from keras_sac.analysis._macs import macs_of


def multiplied(layer, shape):
    """Count the pairs of a weight and an output that it has a part in, weight by weight."""
    kernel, ones = layer.kernel, np.ones((1, *shape), "float32")
    before, found = keras.ops.convert_to_numpy(kernel), 0
    for place in zip(*np.nonzero(before), strict=True):
        alone = np.zeros_like(before)
        alone[place] = 1
        kernel.assign(alone)
        found += np.count_nonzero(keras.ops.convert_to_numpy(layer(ones)))
    kernel.assign(before)
    return found


BILINEAR = {
    "dense": (lambda: layers.Dense(3, use_bias=False), (2, 4)),
    "einsum": (lambda: layers.EinsumDense("abc,dce->abed", (None, 2, 3)), (3, 2)),
    "einsum, a kernel at each place": (lambda: layers.EinsumDense("abc,bcd->abd", (3, 2)), (3, 2)),
    "conv": (lambda: layers.Conv2D(2, (2, 3), strides=(2, 1), use_bias=False), (5, 6, 2)),
    "conv dilated": (lambda: layers.Conv1D(2, 2, dilation_rate=3, use_bias=False), (7, 2)),
    "conv in groups": (lambda: layers.Conv1D(4, 2, groups=2, use_bias=False), (4, 4)),
    "depthwise": (lambda: layers.DepthwiseConv1D(2, depth_multiplier=2, use_bias=False), (4, 3)),
    "transposed": (lambda: layers.Conv1DTranspose(2, 3, strides=2, use_bias=False), (4, 2)),
}


# Without padding, which is counted as any other input.
@pytest.mark.parametrize("name", BILINEAR)
def test_by_trying_each_weight(name, rng):
    make, shape = BILINEAR[name]
    layer = make()
    model = keras.Sequential([keras.Input(shape), layer])
    assert macs_of(model)[id(layer)].dense == multiplied(layer, shape)
    layer.kernel.assign(rng.integers(0, 2, layer.kernel.shape))
    assert macs_of(model)[id(layer)].effective == multiplied(layer, shape)


@pytest.mark.parametrize("tied", [True, False])
def test_an_embedding_used_both_ways(tied):
    layer = layers.ReversibleEmbedding(50, 8, tie_weights=tied)
    inputs = keras.Input((7,), dtype="int32")
    model = keras.Model(inputs, layer(layer(inputs), reverse=True))
    assert macs_of(model)[id(layer)].dense == 7 * 8 * 50


def test_kernels_that_are_not_kept_as_they_are_multiplied():
    model = keras.Sequential(
        [keras.Input((16,)), layers.Dense(8), layers.EinsumDense("ab,bc->ac", 6)]
    )
    first, second = model.layers
    first.enable_lora(2)
    second.quantize("int4")
    found = macs_of(model)
    assert (found[id(first)].dense, found[id(second)].dense) == (16 * 8, 8 * 6)


def test_channels_first():
    layer = layers.Conv2D(6, 3, data_format="channels_first", padding="same")
    shape = layer.compute_output_shape((1, 4, 9, 8))
    layer.build((1, 4, 9, 8))
    assert kind_of(layer).uses(layer, (1, 4, 9, 8), shape) == 9 * 8


@pytest.mark.parametrize("values", [None, 3])
def test_attention(values):
    inputs = keras.Input((6, 8))
    layer = layers.MultiHeadAttention(2, 5)
    other = inputs if values is None else layers.Cropping1D((0, 6 - values))(inputs)
    model = keras.Model(inputs, layer(query=inputs, value=other))
    t, s = 6, values or 6
    kernels = 2 * (t + s) * 8 * 2 * 5
    found = macs_of(model)
    assert sum(each.dense for each in found.values()) == kernels + 2 * t * s * (5 + 5)
    # The outer layer has the products alone.
    assert found[id(layer)].dense == 2 * t * s * (5 + 5)


def test_attention_along_an_axis():
    inputs = keras.Input((3, 6, 8))
    layer = layers.MultiHeadAttention(2, 5, value_dim=4, attention_axes=2)
    model = keras.Model(inputs, layer(inputs, inputs))
    assert macs_of(model)[id(layer)].dense == 3 * 2 * 6 * 6 * (5 + 4)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: layers.Attention(), 6 * 3 * (8 + 4)),
        (lambda: layers.Attention(score_mode="concat"), 6 * 3 * 4),
        (lambda: layers.AdditiveAttention(), 6 * 3 * (8 + 4)),
    ],
)
def test_attention_without_kernels(make, expected):
    query, value, key = keras.Input((6, 8)), keras.Input((3, 4)), keras.Input((3, 8))
    layer = make()
    model = keras.Model([query, value, key], layer([query, value, key]))
    assert macs_of(model)[id(layer)].dense == expected


def test_attention_in_groups():
    inputs = keras.Input((6, 8))
    layer = layers.GroupQueryAttention(3, 4, 2)
    model = keras.Model(inputs, layer(inputs, inputs))
    found = macs_of(model)
    assert found[id(layer)].dense == 4 * 6 * 6 * (3 + 3)
    # Queries and outputs have four heads, keys and values two.
    kernels = 2 * 6 * 8 * 4 * 3 + 2 * 6 * 8 * 2 * 3
    assert sum(each.dense for each in found.values()) == kernels + found[id(layer)].dense
