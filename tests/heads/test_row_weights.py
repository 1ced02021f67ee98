"""Rows that do not count in the losses: masked, weighted 0, of an ignored class, or none at all."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import Entmax15Loss, SparsemaxLoss
from tests.heads import gradients, reference

LOSSES = {"sparsemax": SparsemaxLoss, "entmax15": Entmax15Loss}
STEPS = np.array([[3, 1, 0, 0], [2, 4, 4, 0], [1, 0, 0, 0]])


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def rows_of(name, labels, x):
    """The loss of each row that has a class, in float64, and 0 for the others."""
    y = np.eye(x.shape[-1])[np.maximum(labels, 0)]
    return np.where(labels >= 0, reference.entropy_loss(name, x.astype("float64"), y), 0.0)


def tagger():
    """A model with logits for each step, masked where the step is 0."""
    return keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 6, mask_zero=True),
            keras.layers.Dense(3),
        ]
    )


@pytest.mark.parametrize("classes", [3, 40])
def test_a_row_of_weight_0_has_no_influence(name, classes, rng):
    x = rng.normal(size=(6, classes)).astype("float32")
    labels, weights = rng.integers(0, classes, 6), rng.random(6).astype("float32")
    weights[[1, 4]] = 0
    expected = rows_of(name, labels, x) * weights
    wrong = labels.copy()
    wrong[[1, 4]] = [-1, classes]
    x[1] = np.nan
    loss = LOSSES[name](reduction=None)
    np.testing.assert_allclose(numpy(loss(wrong, x, weights)), expected, atol=1e-5)
    y = np.eye(classes, dtype="float32")[labels]
    y[1] = np.nan
    np.testing.assert_allclose(numpy(loss(y, x, weights[:, None])), expected, atol=1e-5)
    found = gradients.vjp(lambda x: loss(wrong, x, weights), x, np.ones(6, "float32"))
    p = reference.HEADS[name](np.nan_to_num(x))
    slope = weights[:, None] * (p - np.eye(classes)[labels])
    np.testing.assert_allclose(found, slope, atol=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_of_masked_and_ignored_rows(name, reduction, weighted, rng):
    """The values of Keras' reductions, over the rows that are left."""
    model = tagger()
    logits = model(STEPS)
    x, there = numpy(logits), STEPS > 0
    labels = np.where(there, rng.integers(0, 3, STEPS.shape), -1)
    weights = rng.random(STEPS.shape).astype("float32") if weighted else None
    given = {} if weights is None else {"sample_weight": weights}
    shares = np.ones(STEPS.shape) if weights is None else weights

    def reduced(labels, left):
        total = (rows_of(name, np.where(left, labels, -1), x) * shares)[left].sum()
        if reduction == "sum":
            return total
        return total / (left.sum() if reduction == "sum_over_batch_size" else shares[left].sum())

    loss = LOSSES[name](reduction=reduction)
    found = loss(labels, logits, **given)
    np.testing.assert_allclose(numpy(found), reduced(labels, there), rtol=1e-5)
    # Without a mask.
    ignoring = LOSSES[name](reduction=reduction, ignore_class=-1)
    found = ignoring(labels, x, **given)
    np.testing.assert_allclose(numpy(found), reduced(labels, there), rtol=1e-5)
    # With both: class 2 is ignored where there is a step.
    ignoring = LOSSES[name](reduction=reduction, ignore_class=2)
    found = ignoring(labels, logits, **given)
    np.testing.assert_allclose(numpy(found), reduced(labels, there & (labels != 2)), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum"])
@pytest.mark.parametrize("ignore_class", [None, 1])
def test_weights_are_those_of_keras(reduction, ignore_class, rng):
    """Of two classes whose logits are far apart, both losses are nearly the distance."""
    steps = rng.integers(0, 5, (3, 4))
    embedded = keras.layers.Embedding(5, 2, mask_zero=True)
    embedded.build((None, 4))
    embedded.set_weights([400.0 * rng.normal(size=(5, 2)).round(1)])
    labels, weights = rng.integers(0, 2, (3, 4)), rng.random((3, 4)).astype("float32")
    arguments = {"reduction": reduction, "ignore_class": ignore_class}
    ours = SparsemaxLoss(**arguments)(labels, embedded(steps), weights)
    keras_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, **arguments)
    expected = numpy(keras_loss(labels, embedded(steps), weights))
    np.testing.assert_allclose(numpy(ours), expected, rtol=0.02)


@pytest.mark.parametrize("how", ["mask", "weight", "ignore_class"])
def test_training_with_padded_labels(name, how, rng):
    inputs = rng.integers(1, 5, (24, 4))
    inputs[:, 2:] = 0
    labels = np.where(inputs > 0, inputs % 3, -1)
    weights = (labels >= 0).astype("float32") if how == "weight" else None
    ignored = -1 if how == "ignore_class" else None
    trained = []
    # Any class number in the place of -1 gives the same weights.
    for padding in (-1, 1) if ignored is None else (-1,):
        keras.utils.set_random_seed(5)
        model = tagger()
        model.compile("adam", LOSSES[name](ignore_class=ignored))
        y = np.where(labels < 0, padding, labels)
        history = model.fit(inputs, y, sample_weight=weights, epochs=3, verbose=0).history
        assert np.all(np.isfinite(history["loss"]))
        assert history["loss"][-1] < history["loss"][0]
        trained.append(model.get_weights())
    for one, other in zip(trained[0], trained[-1], strict=True):
        assert np.all(np.isfinite(one))
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_nan_that_counts_stays(name):
    x = np.zeros((2, 3), "float32")
    x[1, 1] = np.nan
    loss = numpy(LOSSES[name](reduction=None)(np.array([0, 1]), x, np.array([0.0, 1.0])))
    assert loss[0] == 0
    assert np.isnan(loss[1])


def test_ignore_class_needs_class_numbers(name):
    loss = LOSSES[name](ignore_class=2)
    with pytest.raises(ValueError, match="`ignore_class` needs class numbers as labels. Received"):
        loss(np.eye(3, dtype="float32"), np.zeros((3, 3), "float32"))
    with pytest.raises(ValueError, match="`ignore_class` must be an integer"):
        LOSSES[name](ignore_class=0.5)
    assert LOSSES[name].from_config(loss.get_config()).ignore_class == 2


@pytest.mark.parametrize("classes", [4, 40, 600])
def test_no_rows(name, classes):
    """As Keras' cross-entropy: an empty loss."""
    x, labels = np.zeros((0, classes), "float32"), np.zeros(0, "int32")
    for reduction in (None, "sum_over_batch_size"):
        assert numpy(LOSSES[name](reduction=reduction)(labels, x)).shape == (0,)
    summed = LOSSES[name]()(np.zeros((0, 2), "int32"), np.zeros((0, 2, classes), "float32"))
    assert numpy(summed) == 0


@pytest.mark.parametrize("axis", [1, -1])
def test_one_logit_is_refused(name, axis):
    """One class is always certain, so its loss is 0."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", LOSSES[name](axis=axis))
    before = model.get_weights()[0]
    with pytest.raises(ValueError, match=r"at least two classes.*shape=\(.*1\).*Dense\(2\)"):
        model.fit(np.ones((8, 6), "float32"), np.zeros(8), verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize("classes", [7, 50])
def test_float64(name, classes, rng):
    x = rng.normal(size=(5, classes))
    labels = rng.integers(0, classes, 5)
    with gradients.float64():
        loss = LOSSES[name](reduction=None, dtype="float64")
        assert loss.dtype == "float64"
        found = loss(labels, ops.convert_to_tensor(x, "float64"), np.full(5, 0.5))
        assert keras.backend.standardize_dtype(found.dtype) == "float64"
        np.testing.assert_allclose(numpy(found), 0.5 * rows_of(name, labels, x), atol=1e-13)
    assert LOSSES[name](dtype="mixed_bfloat16").dtype == "float32"
