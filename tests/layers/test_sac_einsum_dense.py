"""Tests of `SACEinsumDense` only: equations, biases, attention."""

import keras
import numpy as np
import pytest

from keras_sac._model._einsum_equation import EinsumEquation
from keras_sac.layers import SACEinsumDense


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_an_equation_is_read_by_its_roles():
    parsed = EinsumEquation.parse("abcd, dce -> abe")
    assert (parsed.contracted, parsed.made, parsed.kept) == ("dc", "e", "ab")
    assert parsed.project_equation() == "abcd,dcr->abr"
    assert parsed.combine_equation() == "abr,re->abe"


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("ab,bc", "must have the form"),
        ("...ab,bc->ac", "same side"),
        ("aab,bc->ac", "repeats"),
        ("abc,bcd->abd", "no single basis"),
        ("ab,cd->acd", "Each label of the kernel"),
        ("ab,b->a", "at least one"),
        ("abz,bc->ac", "each other label"),
    ],
)
def test_bad_equations(equation, message):
    with pytest.raises(ValueError, match=message):
        EinsumEquation.parse(equation)


@pytest.mark.parametrize("bias_axes", [None, "d", "e", "de", "be"])
def test_biases_are_those_of_einsum_dense(rng, bias_axes):
    x = rng.normal(size=(3, 5, 8)).astype("float32")
    shape = (5, 4, 6)
    layer = SACEinsumDense("abc,cde->abde", shape, "pca", rank=3, bias_axes=bias_axes, center=True)
    layer.adapt(x)
    stock = keras.layers.EinsumDense("abc,cde->abde", shape, bias_axes=bias_axes)
    stock.build(x.shape)
    if bias_axes is not None:
        assert layer.bias.shape == stock.bias.shape
        layer.bias.assign(rng.normal(size=layer.bias.shape))
    merged = layer.to_dense()
    np.testing.assert_allclose(numpy(merged(x)), numpy(layer(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "output_shape", "input_shape"),
    [
        ("ab...,bc->ac...", (6,), (3, 8, 4, 2)),
        ("...ab,bc->...ac", (5, 6), (3, 2, 5, 8)),
        ("ab,bc->ca", (3,), (3, 8)),
    ],
)
def test_ellipses_and_orders(rng, equation, output_shape, input_shape):
    x = rng.normal(size=input_shape).astype("float32")
    stock = keras.layers.EinsumDense(equation, output_shape)
    if equation == "ab,bc->ca":
        # The output's first axis is one that the layer makes: there is no batch axis to keep.
        with pytest.raises(ValueError, match="`output_shape`"):
            SACEinsumDense(equation, output_shape, "random", rank=3)
        return
    layer = SACEinsumDense(equation, output_shape, "random", rank=3)
    y = layer(x)
    stock.build(x.shape)
    stock.set_weights([numpy(layer.kernel)])
    assert tuple(y.shape) == tuple(stock(x).shape) == layer.compute_output_shape(x.shape)
    np.testing.assert_allclose(numpy(y), numpy(stock(x)), atol=1e-5)


def test_multi_head_attention_out_of_factored_projections(rng):
    # The projections of a trained MultiHeadAttention at full rank: the same attention.
    x = rng.normal(size=(2, 6, 8)).astype("float32")
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3)
    reference = numpy(attention(x, x))
    names = ["query", "key", "value"]
    kernels = {n: numpy(getattr(attention, f"{n}_dense").kernel) for n in names}
    biases = {n: numpy(getattr(attention, f"{n}_dense").bias) for n in names}
    projected = {}
    for name in names:
        layer = SACEinsumDense("abc,cde->abde", (None, 2, 3), np.eye(8), bias_axes="de")
        layer.build(x.shape)
        layer.learner.assign(kernels[name].reshape(8, 6))
        layer.bias.assign(biases[name])
        projected[name] = numpy(layer(x))
    scores = np.einsum("bqhd,bkhd->bhqk", projected["query"], projected["key"]) / np.sqrt(3)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    heads = np.einsum("bhqk,bkhd->bqhd", weights, projected["value"]).astype("float32")
    out = SACEinsumDense("abcd,cde->abe", (None, 8), np.eye(6), bias_axes="e")
    out.build(heads.shape)
    out.learner.assign(numpy(attention.output_dense.kernel).reshape(6, 8))
    out.bias.assign(numpy(attention.output_dense.bias))
    np.testing.assert_allclose(numpy(out(heads)), reference, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_shape": (None, None, 3)}, "must give a size"),
        ({"output_shape": (4, 3)}, "one entry for each"),
        ({"bias_axes": "z"}, "labels of the output"),
        ({"bias_axes": ""}, "labels of the output"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"output_shape": (None, 4, 3), **arguments}
    with pytest.raises(ValueError, match=message):
        SACEinsumDense("abc,cde->abde", basis="random", rank=2, **arguments)


def test_a_wrong_width_after_build():
    layer = SACEinsumDense("abc,cd->abd", (None, 4), "random", rank=2)
    layer(np.zeros((2, 3, 8), "float32"))
    with pytest.raises(ValueError, match="expected axis"):
        layer(np.zeros((2, 3, 7), "float32"))


def test_use_bias_is_not_an_argument():
    with pytest.raises(ValueError, match="bias_axes"):
        SACEinsumDense("abc,cd->abd", (None, 4), "random", rank=2, use_bias=False)


def test_an_input_that_does_not_fit_the_equation():
    layer = SACEinsumDense("abc,cd->abd", (5, 4), "random", rank=2)
    with pytest.raises(ValueError, match="3 axes"):
        layer.build((None, 8))
    with pytest.raises(ValueError, match="size 5, as in `output_shape`.*size 7"):
        layer.build((None, 7, 8))


@pytest.mark.parametrize(
    ("equation", "ndim", "expected"),
    [
        ("...x,yx->...y", 4, "rzwx,yx->rzwy"),
        ("...x,xr->...r", 3, "zyx,xr->zyr"),
        ("ab...,bc->ac...", 4, "abrz,bc->acrz"),
        ("...x,yx->...y", 1, "x,yx->y"),
        ("abc,cd->abd", 3, "abc,cd->abd"),
    ],
)
def test_the_ellipsis_is_spelled_out(equation, ndim, expected):
    parsed = EinsumEquation.parse(equation)
    assert parsed.spelled_out(equation, ndim) == expected
