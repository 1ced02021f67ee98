"""`SparsemaxLoss` and `Entmax15Loss`: propositions of the papers, labels, training, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import Entmax15Loss, SparsemaxLoss, entmax15, sparsemax
from tests.heads import gradients, reference

LOSSES = {"sparsemax": SparsemaxLoss, "entmax15": Entmax15Loss}
# The margin by which the right logit has to lead: there the loss ends.
MARGINS = {"sparsemax": 1.0, "entmax15": 2.0}


@pytest.fixture(params=LOSSES)
def name(request):
    return request.param


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def one_hot(labels, classes):
    return np.eye(classes, dtype="float32")[labels]


def each(name, y, x, **kwargs):
    return numpy(LOSSES[name](reduction=None, **kwargs)(y, x))


@pytest.mark.parametrize("classes", [3, 10, 40, 700])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_value_is_that_of_the_definition(name, classes, scale, rng):
    x = (rng.normal(size=(9, classes)) * scale).astype("float32")
    labels = rng.integers(0, classes, 9)
    y = one_hot(labels, classes)
    expected = reference.entropy_loss(name, x.astype("float64"), y)
    np.testing.assert_allclose(each(name, labels, x), expected, atol=3e-6, rtol=1e-5)
    np.testing.assert_allclose(each(name, y, x), expected, atol=3e-6, rtol=1e-5)


def test_value_is_that_of_the_paper(rng):
    """Equation 22: `-x_k + 1/2 sum_{j in S} (x_j^2 - tau^2) + 1/2`."""
    x = rng.normal(size=(20, 6))
    labels = rng.integers(0, 6, 20)
    p = reference.sparsemax(x)
    tau = np.max(x - p, axis=-1, where=p > 0, initial=-np.inf)[:, None]
    inside = np.where(p > 0, x**2 - tau**2, 0).sum(axis=-1)
    expected = -x[np.arange(20), labels] + 0.5 * inside + 0.5
    found = each("sparsemax", labels, x.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_classes_are_the_modified_huber_loss():
    """Proposition of section 3.3: with `t` the lead of the right class, quadratic in between."""
    lead = np.linspace(-3, 3, 61)
    x = np.stack([lead, np.zeros_like(lead)], axis=1).astype("float32")
    expected = np.where(lead >= 1, 0, np.where(lead <= -1, -lead, (lead - 1) ** 2 / 4))
    found = each("sparsemax", np.zeros(61, "int32"), x)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_zero_just_where_the_margin_holds(name, classes, rng):
    x = rng.normal(size=(50, classes)).astype("float32")
    labels = rng.integers(0, classes, 50)
    others = np.where(one_hot(labels, classes) > 0, -np.inf, x).max(axis=1)
    for gap, is_zero in ((1.001, True), (0.9, False)):
        x[np.arange(50), labels] = others + np.float32(gap * MARGINS[name])
        loss = each(name, labels, x)
        assert np.all((loss == 0) == is_zero)


@pytest.mark.parametrize("classes", [3, 30, 600])
def test_gradient_is_the_difference_of_the_distributions(name, classes, rng):
    x = rng.normal(size=(5, classes)).astype("float32")
    y = rng.dirichlet(np.ones(classes), 5).astype("float32")
    y[0] = one_hot(1, classes)
    weights = rng.random(5).astype("float32")
    loss = LOSSES[name](reduction=None)
    found = gradients.vjp(lambda x: loss(y, x), x, weights)
    expected = weights[:, None] * (reference.HEADS[name](x) - y)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradient_is_the_slope_of_the_value(name, rng):
    x, y = rng.normal(size=7), np.eye(7)[2]
    slope = reference.jacobian(lambda x: np.array([reference.entropy_loss(name, x, y)]), x)[0]
    loss = LOSSES[name](reduction=None)
    found = gradients.vjp(
        lambda x: loss(y[None], x), x[None].astype("float32"), np.ones(1, "float32")
    )
    np.testing.assert_allclose(found[0], slope, atol=1e-5)


def test_convex(name, rng):
    a, b = rng.normal(size=(2, 200, 8)).astype("float32") * 3
    labels = rng.integers(0, 8, 200)
    middle = each(name, labels, 0.5 * a + 0.5 * b)
    assert np.all(middle <= 0.5 * each(name, labels, a) + 0.5 * each(name, labels, b) + 1e-6)


@pytest.mark.parametrize("classes", [6, 60])
def test_large_logits_and_minus_infinity(name, classes, rng):
    x = rng.normal(size=(4, classes)).astype("float32")
    labels = np.zeros(4, "int32")
    moved = each(name, labels, x + np.float32(1024))
    np.testing.assert_allclose(moved, each(name, labels, x), atol=1e-3)
    x[:, 0] = [1e4, -1e4, -np.inf, 0.0]
    x[:, 2] = -np.inf
    loss = each(name, labels, x)
    assert loss[0] == 0
    np.testing.assert_allclose(loss[1], 1e4, rtol=1e-3)
    assert loss[2] == np.inf
    assert np.isfinite(loss[3])
    found = gradients.vjp(
        lambda x: LOSSES[name](reduction=None)(labels, x),
        x[[0, 1, 3]][[0, 1, 2, 2]],
        np.ones(4, "f"),
    )
    assert np.all(np.isfinite(found))
    assert np.isnan(each(name, labels, np.full((4, classes), np.nan, "float32"))).all()


def test_labels_in_every_form(name, rng):
    x = rng.normal(size=(4, 3, 6)).astype("float32")
    labels = rng.integers(0, 6, (4, 3))
    expected = each(name, one_hot(labels, 6), x)
    assert expected.shape == (4, 3)
    for form in (labels, labels[..., None], labels.astype("float32"), labels.tolist()):
        np.testing.assert_array_equal(each(name, form, x), expected)
    other = np.moveaxis(x, -1, 1)
    np.testing.assert_allclose(each(name, labels, other, axis=1), expected, atol=1e-6)
    np.testing.assert_allclose(each(name, labels[:, None], other, axis=1), expected, atol=1e-6)


def test_label_smoothing(name, rng):
    x = rng.normal(size=(5, 4)).astype("float32")
    labels = rng.integers(0, 4, 5)
    y = 0.7 * one_hot(labels, 4) + 0.3 / 4
    expected = reference.entropy_loss(name, x.astype("float64"), y)
    np.testing.assert_allclose(each(name, labels, x, label_smoothing=0.3), expected, atol=1e-6)


def test_sample_weight_and_reduction(name, rng):
    x = rng.normal(size=(6, 4)).astype("float32")
    labels, weights = rng.integers(0, 4, 6), rng.random(6).astype("float32")
    loss = each(name, labels, x)
    found = numpy(LOSSES[name]()(labels, x, sample_weight=weights))
    np.testing.assert_allclose(found, np.mean(loss * weights), rtol=1e-5)
    np.testing.assert_allclose(
        numpy(LOSSES[name](reduction="sum")(labels, x)), loss.sum(), rtol=1e-5
    )


def test_half_precision(name, rng):
    x = ops.cast(rng.normal(size=(6, 20)).astype("float32"), "bfloat16")
    labels = rng.integers(0, 20, 6)
    exact = each(name, labels, ops.cast(x, "float32"))
    np.testing.assert_allclose(each(name, labels, x), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_class_numbers_beyond_half_precision(name, dtype, rng):
    x = rng.normal(size=(2, 2100)).astype("float32")
    labels = np.array([2049, 257])
    loss = LOSSES[name](reduction=None, dtype=dtype)
    np.testing.assert_array_equal(numpy(loss(labels, x)), each(name, labels, x))


@pytest.mark.parametrize("sparse", [True, False])
def test_training(name, sparse, rng, tmp_path):
    x = rng.normal(size=(400, 8)).astype("float32")
    labels = np.argmax(x @ rng.normal(size=(8, 4)), axis=1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.compile("adam", LOSSES[name](label_smoothing=0.01), metrics=["accuracy"])
    model.optimizer.learning_rate = 0.05
    y = labels if sparse else one_hot(labels, 4)
    history = model.fit(x, y, epochs=8, batch_size=50, verbose=0).history
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] > 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.label_smoothing == 0.01
    np.testing.assert_allclose(
        loaded.evaluate(x, y, verbose=0), model.evaluate(x, y, verbose=0), rtol=1e-6
    )
    function = {"sparsemax": sparsemax, "entmax15": entmax15}[name]
    assert np.mean(numpy(function(model.predict(x, verbose=0))) == 0) > 0.3


def test_config(name):
    loss = LOSSES[name](axis=1, label_smoothing=0.2, reduction="sum", name="own")
    again = LOSSES[name].from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    assert (again.axis, again.label_smoothing, again.reduction, again.name) == (
        1,
        0.2,
        "sum",
        "own",
    )


def test_labels_of_an_unknown_extent_are_refused(name):
    labels = keras.KerasTensor((None, None), dtype="float32")
    with pytest.raises(ValueError, match="must be known: it tells .* Received: labels.shape"):
        LOSSES[name]().call(labels, keras.KerasTensor((None, 3), dtype="float32"))


def test_class_numbers_out_of_range_in_a_step_that_nothing_can_stop_give_nan(name):
    x = np.zeros((2, 3), "float32")
    loss = LOSSES[name](reduction=None)
    step, labels = gradients.compiled(lambda y: loss(y, x)), ops.convert_to_tensor([1, 3])
    if keras.backend.backend() == "torch":
        # It runs the step eagerly, so it can be stopped.
        with pytest.raises(ValueError, match=r"must be in \[0, 3\). Received: \[3\]"):
            step(labels)
        return
    found = numpy(step(labels))
    assert np.isfinite(found[0])
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("kwargs", "labels", "logits", "message"),
    [
        (
            {"from_logits": False},
            [0],
            np.zeros((1, 3), "float32"),
            "expects logits; they cannot be recovered",
        ),
        (
            {"label_smoothing": 1.5},
            [0],
            np.zeros((1, 3), "float32"),
            r"a number in \[0, 1\]. Received: label_smoothing=1.5",
        ),
        ({"axis": "last"}, [0], np.zeros((1, 3), "float32"), "must be an integer"),
        ({"axis": 2}, [0], np.zeros((1, 3), "float32"), r"must be in \[-2, 2\)"),
        (
            {},
            [0],
            np.zeros((1, 3), "int32"),
            "expects floating-point logits. Received: dtype=int32",
        ),
        ({}, [0, 3], np.zeros((2, 3), "float32"), r"must be in \[0, 3\). Received: \[3\]"),
        ({}, [-1, 2], np.zeros((2, 3), "float32"), r"must be in \[0, 3\). Received: \[-1\]"),
        ({}, [0, 1, 2], np.zeros((2, 3), "float32"), r"class numbers of shape \(2,\)"),
        ({}, np.zeros((2, 4)), np.zeros((2, 3), "float32"), "Received: labels.shape=.2, 4."),
    ],
)
def test_bad_input(name, kwargs, labels, logits, message):
    with pytest.raises(ValueError, match=message):
        LOSSES[name](**kwargs)(np.asarray(labels), logits)
