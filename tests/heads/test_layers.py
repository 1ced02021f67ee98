"""The layers `Sparsemax` and `Entmax15`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import Entmax15, Sparsemax
from tests.heads import gradients, reference

LAYERS = {"sparsemax": Sparsemax, "entmax15": Entmax15}


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def test_values_axis_and_config(name, rng):
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    layer = LAYERS[name](axis=1, name="head")
    np.testing.assert_allclose(numpy(layer(x)), reference.HEADS[name](x, 1), atol=1e-6)
    again = LAYERS[name].from_config(layer.get_config())
    assert (again.axis, again.name) == (1, "head")
    assert layer.compute_output_shape((None, 5, 3)) == (None, 5, 3)
    assert layer(keras.Input((5, 3))).shape == (None, 5, 3)


def test_mask(name, rng):
    x = rng.normal(size=(3, 6)).astype("float32")
    mask = np.ones((3, 6), bool)
    mask[0, :3] = mask[2] = False
    p = numpy(LAYERS[name]()(x, mask=mask))
    expected = reference.HEADS[name](np.where(mask, x, -np.inf)[:2])
    np.testing.assert_allclose(p[:2], expected, atol=1e-6)
    assert np.all(p[2] == 0)


def test_mask_of_steps(rng):
    """What an `Embedding` makes has no axis for the features."""
    steps = np.array([[4, 2, 0, 0], [1, 0, 0, 0], [3, 1, 2, 2]])
    inputs = keras.Input((4,), dtype="int32")
    embedded = keras.layers.Embedding(5, 3, mask_zero=True)(inputs)
    scores = keras.layers.Dense(1)(embedded)
    model = keras.Model(inputs, [scores, Sparsemax(axis=1)(scores)])
    for rows in (slice(0, 1), slice(0, 3)):
        z, p = (numpy(t) for t in model(steps[rows]))
        assert p.shape == (*steps[rows].shape, 1)
        masked = np.where(steps[rows, :, None] > 0, z, -np.inf)
        np.testing.assert_allclose(p, reference.sparsemax(masked, 1), atol=1e-6)


def test_mask_of_numbers_and_of_a_wrong_shape(name, rng):
    x = rng.normal(size=(3, 6)).astype("float32")
    soft = np.array([[0.3, 0.9, 1.0, 0.0, 0.6, 1.0]], "float32")
    p = numpy(LAYERS[name]()(x, mask=soft))
    expected = reference.HEADS[name](np.where(soft > 0.5, x, -np.inf))
    np.testing.assert_allclose(p, expected, atol=1e-6)
    for shape in ((2, 6), (3, 4), (1, 3, 6)):
        with pytest.raises(ValueError, match="must be broadcastable to the logits"):
            LAYERS[name]()(x, mask=np.ones(shape, bool))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(name, policy, rng):
    x = rng.normal(size=(3, 40)).astype("float32")
    mask = x < 1
    for given in (None, mask):
        p = LAYERS[name](dtype=policy)(x, mask=given)
        assert keras.backend.standardize_dtype(p.dtype) == policy.removeprefix("mixed_")
        expected = reference.HEADS[name](x if given is None else np.where(mask, x, -np.inf))
        np.testing.assert_allclose(numpy(ops.cast(p, "float32")), expected, atol=0.02)


def test_mask_in_float64(name, rng):
    x = rng.normal(size=(3, 30))
    mask = x < 1
    with gradients.float64():
        p = LAYERS[name](dtype="float64")(ops.convert_to_tensor(x, "float64"), mask=mask)
        expected = reference.HEADS[name](np.where(mask, x, -np.inf))
        np.testing.assert_allclose(numpy(p), expected, atol=1e-13)


def test_as_attention(rng):
    """In the middle of a model it trains by whatever loss the model has."""
    inputs = keras.Input((5, 4))
    scores = keras.layers.Dense(1)(inputs)
    weights = Sparsemax(axis=1)(scores)
    outputs = keras.layers.Dense(3, activation="softmax")(
        keras.layers.Flatten()(keras.layers.Multiply()([weights, inputs]))
    )
    model = keras.Model(inputs, outputs)
    model.compile("adam", "sparse_categorical_crossentropy")
    before = numpy(model.layers[1].kernel).copy()
    x, y = rng.normal(size=(32, 5, 4)).astype("float32"), rng.integers(0, 3, 32)
    model.fit(x, y, epochs=2, verbose=0)
    assert np.any(numpy(model.layers[1].kernel) != before)


@pytest.mark.parametrize(
    ("axis", "x", "message"),
    [
        (1.5, np.zeros((2, 3), "float32"), "must be an integer. Received: axis=1.5"),
        (2, np.zeros((2, 3), "float32"), r"must be in \[-2, 2\)"),
        (-1, np.zeros((2, 3), "int32"), "expects floating-point logits"),
        (-1, np.zeros((2, 0), "float32"), "expects at least one class"),
    ],
)
def test_bad_input(name, axis, x, message):
    with pytest.raises(ValueError, match=message):
        LAYERS[name](axis=axis)(x)
