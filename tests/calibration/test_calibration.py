"""`Calibration.from_data`: gradients, kinds of data, bad input, and that nothing is left behind."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration
from keras_sac._model import layer_paths


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def ridge(metric, rows):
    """Return what `loss_metric` adds to the diagonal."""
    return max(1e-3, 0.2 * len(metric) / rows) * np.trace(metric) / len(metric)


def assert_metric(calibration, key, gradients):
    """Check `G` against gradients `(rows, units)` of the losses of single samples."""
    kernel = next(each for each in calibration.kernels if each.key.endswith(key))
    expected = gradients.T @ gradients / calibration.samples
    expected[np.diag_indices_from(expected)] += ridge(expected, len(gradients))
    found = calibration.loss_metric(kernel)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def classifier():
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            L.Conv2D(5, 3, activation="relu", name="conv"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, name="logits"),
        ]
    )


def softmax(logits):
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def images(rng):
    return rng.normal(size=(20, 6, 6, 3)).astype("float32"), rng.integers(0, 4, 20)


def test_gradients_of_a_classifier(images):
    x, y = images
    model = classifier()
    calibration = Calibration.from_data(model, x, y, loss=CE, batch_size=8, verbose=0)
    conv, head = model.get_layer("conv"), model.get_layer("logits")
    made = numpy(conv(x))
    logits = numpy(model(x))
    errors = softmax(logits) - np.eye(4)[y]
    assert_metric(calibration, "logits:kernel", errors)
    pooled = errors @ numpy(head.kernel).T / 16
    at_conv = np.where(made > 0, pooled[:, None, None], 0.0)
    assert_metric(calibration, "conv:kernel", at_conv.reshape(-1, 5))
    losses = -np.log(softmax(logits)[np.arange(20), y])
    np.testing.assert_allclose(calibration.loss, losses.mean(), rtol=1e-5)


def test_an_error_of_the_outputs_raises_the_loss_as_predicted(images):
    x, _ = images
    model = classifier()
    # Labels that are drawn from the model: the expected gradients are zero.
    logits = np.tile(numpy(model(x)), (200, 1))
    draws = np.random.default_rng(0).random(len(logits))
    y = (softmax(logits).cumsum(axis=1) < draws[:, None]).sum(axis=1)
    x = np.tile(x, (200, 1, 1, 1))
    calibration = Calibration.from_data(model, x, y, loss=CE, batch_size=500, verbose=0)
    kernel = calibration.kernels[-1]
    # A small error of the logits, of mean zero; with both signs, so that what is linear cancels.
    head = model.get_layer("logits")
    before, bias = numpy(head.kernel), numpy(head.bias)
    change = 0.3 * np.random.default_rng(1).normal(size=before.shape)
    fit, risen = calibration.fits(kernel)[0], 0.0
    predicted = fit.error(before + change, calibration.loss_metric(kernel)) / 2
    for sign in (1, -1):
        head.kernel.assign(before + sign * change)
        head.bias.assign(bias + fit.bias(before + sign * change))
        risen += (calibration.mean_loss(model) - calibration.loss) / 2
    assert 0.7 * predicted < risen < 1.3 * predicted


@pytest.mark.parametrize("form", ["list", "dict", "names"])
def test_losses_of_several_outputs(form, rng):
    inputs = keras.Input((4,))
    outs = [L.Dense(3, name="a")(inputs), L.Dense(2, name="b")(inputs)]
    x = rng.normal(size=(20, 4)).astype("float32")
    labels = [rng.normal(size=(20, n)).astype("float32") for n in (3, 2)]
    named, losses = dict(zip("ab", labels, strict=True)), {"a": "mse", "b": "mse"}
    model = keras.Model(inputs, dict(zip("ab", outs, strict=True)) if form == "dict" else outs)
    y, loss = (labels, ["mse", "mse"]) if form == "list" else (named, losses)
    given = Calibration.from_data(model, x, y, loss=loss, batch_size=8, verbose=0)
    model.compile(loss=loss)
    compiled = Calibration.from_data(model, x, y, batch_size=8, verbose=0)
    assert given.loss == compiled.loss
    for name, label in named.items():
        errors = numpy(model.get_layer(name)(x)) - label
        for calibration in (given, compiled):
            assert_metric(calibration, f"{name}:kernel", 2 * errors / errors.shape[1])


def test_gradients_at_positions_that_are_masked_do_not_count(rng):
    tokens = rng.integers(1, 9, (10, 5))
    tokens[:, 3:] = 0
    model = keras.Sequential(
        [keras.Input((5,)), L.Embedding(9, 4, mask_zero=True), L.Dense(3, name="last")]
    )
    y = rng.normal(size=(10, 5, 3)).astype("float32")
    calibration = Calibration.from_data(model, tokens, y, loss="mse", verbose=0)
    # Keras divides by the number of samples that count, masked positions left out.
    errors = (numpy(model(tokens)) - y)[:, :3].reshape(-1, 3)
    kernel = calibration.kernels[0]
    assert calibration.fits(kernel)[0].inputs.count == 30
    found, expected = calibration.loss_metric(kernel), errors.T @ errors
    np.testing.assert_allclose(found / np.trace(found), expected / np.trace(expected), atol=2e-2)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return self.x[part], self.y[part]


def generator(x, y):
    for start in range(0, len(x), 8):
        yield x[start : start + 8], y[start : start + 8]


def tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def loader(x, y):
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    pairs = data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    return data.DataLoader(pairs, batch_size=8)


@pytest.mark.parametrize("make", [Batches, generator, tf_data, loader])
def test_every_kind_of_data_gives_the_same(make, images):
    x, y = images
    model = classifier()
    expected = Calibration.from_data(model, x, y, loss=CE, batch_size=8, verbose=0)
    found = Calibration.from_data(model, make(x, y), loss=CE, verbose=0)
    assert (found.samples, found.loss) == (20, pytest.approx(expected.loss, rel=1e-6))
    for one, two in zip(expected.kernels, found.kernels, strict=True):
        a, b = expected.fits(one)[0], found.fits(two)[0]
        np.testing.assert_allclose(a.inputs.matrix, b.inputs.matrix, atol=1e-6)
        np.testing.assert_allclose(
            expected.loss_metric(one), found.loss_metric(two), rtol=1e-4, atol=1e-9
        )


def test_the_size_of_the_batches_does_not_matter(images):
    x, y = images
    model = classifier()
    one, two = (
        Calibration.from_data(model, x, y, loss=CE, batch_size=size, verbose=0) for size in (3, 20)
    )
    for kernel in one.kernels:
        a, b = (each.fits(kernel)[0].inputs for each in (one, two))
        np.testing.assert_allclose(a.matrix, b.matrix, atol=1e-5)
        np.testing.assert_allclose(one.loss_metric(kernel), two.loss_metric(kernel), atol=1e-5)


def test_an_input_that_may_be_left_out(rng):
    class Sum(L.Layer):
        def call(self, a, b):
            return a if b is None else a + b

        def compute_output_shape(self, a_shape, b_shape):
            return a_shape

    left_out, there = keras.Input((4,), optional=True), keras.Input((4,))
    model = keras.Model([left_out, there], L.Dense(3)(Sum()(there, left_out)))
    x, y = (rng.normal(size=(9, n)).astype("float32") for n in (4, 3))
    calibration = Calibration.from_data(model, [None, x], y, loss="mse", verbose=0)
    errors = numpy(model([None, x])) - y
    assert_metric(calibration, ":kernel", 2 * errors / 3)


# What goes wrong.


def attributes(model):
    """Return what the layers of a model hold, as hooks would change it."""
    return {
        # Keras itself notes that a layer was called.
        path: {name: id(value) for name, value in vars(layer).items() if name != "_called"}
        for path, layer in layer_paths(model).items()
    }


class Broken(Exception):
    """Raised by data."""


def failing(x, y, error):
    yield x[:8], y[:8]
    raise error


class FailingBatches(Batches):
    def __getitem__(self, index):
        if index == 2:
            raise Broken("disk")
        return super().__getitem__(index)


class Interrupted(L.Layer):
    """Raises in the third call."""

    def __init__(self):
        super().__init__()
        self.calls, self.error = 0, None

    def call(self, inputs):
        self.calls += 1
        if self.error is not None and self.calls > 2:
            raise self.error
        return inputs


@pytest.mark.parametrize("error", [Broken("disk"), KeyboardInterrupt(), ValueError("read")])
def test_errors_of_the_data_come_through(error, images):
    x, y = images
    model = classifier()
    before = attributes(model)
    with pytest.raises(type(error)) as caught:
        Calibration.from_data(model, failing(x, y, error), loss=CE, verbose=0)
    assert caught.value is error
    with pytest.raises(Broken, match="disk"):
        Calibration.from_data(model, FailingBatches(x, y), loss=CE, verbose=0)
    assert attributes(model) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("memory")])
@pytest.mark.parametrize("labels", [False, True])
def test_an_interrupted_pass_leaves_nothing_behind(error, labels, images):
    x, y = images
    inner = Interrupted()
    layers = classifier().layers
    model = keras.Sequential([keras.Input((6, 6, 3)), layers[0], inner, *layers[1:]])
    model.compile("sgd", CE)
    expected = model.predict(x, verbose=0)
    before = attributes(model)
    inner.calls, inner.error = 0, error
    with pytest.raises(type(error)):
        Calibration.from_data(model, x, y if labels else None, batch_size=8, verbose=0)
    inner.calls, inner.error = 0, None
    after = attributes(model)
    for changing in ("calls", "error"):
        after[inner.name][changing] = before[inner.name][changing]
    assert after == before
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


def test_a_finished_pass_leaves_nothing_behind(images):
    x, y = images
    model = classifier()
    before, weights = attributes(model), model.get_weights()
    Calibration.from_data(model, x, y, loss=CE, verbose=0)
    assert attributes(model) == before
    for one, two in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_values_that_are_not_finite_name_their_layer(images):
    x, y = images
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            L.Conv2D(4, 3, name="before"),
            L.Lambda(lambda z: ops.log(z)),
            L.Flatten(),
            L.Dense(4, name="after"),
        ]
    )
    for labels in (None, y):
        loss = None if labels is None else CE
        with pytest.raises(ValueError, match="^A calibration needs .* inputs of 'after'"):
            Calibration.from_data(model, x, labels, loss=loss, verbose=0)
    x[17, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="^A calibration needs .* inputs of 'conv'"):
        Calibration.from_data(classifier(), x, batch_size=8, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda x, y: ((x[..., :2],), {}), "shape"),
        (lambda x, y: ((x, y[:-1]), {"loss": CE}), "`y` must have one entry for each sample"),
        (lambda x, y: ((x, np.append(y, 0)), {"loss": CE}), "`y` must have one entry"),
        (lambda x, y: ((x, list(y)), {"loss": CE}), "`y` must hold arrays"),
        (lambda x, y: ((x, y), {}), "not compiled"),
        (lambda x, y: ((x,), {"loss": CE}), "`loss` needs labels"),
        (lambda x, y: ((generator(x, y), y), {"loss": CE}), "twice"),
        (lambda x, y: ((x[:0],), {}), "no samples"),
        (lambda x, y: (([],), {}), "data"),
        (lambda x, y: ((None,), {}), "data"),
        (lambda x, y: ((x, np.zeros((20, 7))), {"loss": "mse"}), "labels of shape .20, 7. for"),
        (lambda x, y: ((x, y), {"loss": "no_such_loss"}), "no_such_loss"),
        (lambda x, y: ((x,), {"batch_size": 0}), "batch_size"),
        (lambda x, y: ((x,), {"max_features": 0}), "max_features"),
        (lambda x, y: ((x,), {"targets": "no_such_layer"}), "no_such_layer"),
    ],
)
def test_data_and_labels_that_do_not_fit(arguments, message, images):
    args, named = arguments(*images)
    model = classifier()
    before = attributes(model)
    with pytest.raises(ValueError, match=message):
        Calibration.from_data(model, *args, verbose=0, **named)
    assert attributes(model) == before


def test_batches_with_and_without_labels(images):
    x, y = images
    with pytest.raises(ValueError, match="1 of 2 batches with labels"):
        Calibration.from_data(classifier(), iter([(x, y), (x,)]), loss=CE, verbose=0)


def test_models_that_cannot_be_calibrated(images):
    x, _ = images
    with pytest.raises(ValueError, match="no weights yet"):
        Calibration.from_data(keras.Sequential([L.Dense(3)]), x, verbose=0)
    model = keras.Sequential([keras.Input((6, 6, 3)), L.ReLU()])
    with pytest.raises(ValueError, match="No kernel of the model"):
        Calibration.from_data(model, x, verbose=0)
    with pytest.raises(ValueError, match="keras.Model"):
        Calibration.from_data(object(), x, verbose=0)


def test_a_layer_whose_positions_are_all_masked(rng):
    tokens = np.zeros((6, 5), "int32")
    inputs = keras.Input((5,), dtype="int32")
    masked = L.Dense(3, name="masked")(L.Embedding(9, 4, mask_zero=True)(inputs))
    plain = L.Dense(3, name="plain")(L.Embedding(9, 4)(inputs))
    model = keras.Model(inputs, [masked, plain])
    calibration = Calibration.from_data(model, tokens, verbose=0)
    assert [each.key for each in calibration.kernels] == ["plain:kernel"]
    assert "masked" in calibration.reasons["masked:kernel"]


def test_the_model_that_a_calibration_belongs_to(images, tmp_path):
    x, _ = images
    model = classifier()
    calibration = Calibration.from_data(model, x, verbose=0)
    assert calibration.bound_to(model) is calibration
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    bound = calibration.bound_to(loaded)
    assert bound.kernels[0].layer is loaded.layers[0]
    assert calibration.kernels[0].layer is model.layers[0]
    with pytest.raises(ValueError, match="another model"):
        calibration.bound_to(classifier())
    again = classifier()
    again.set_weights(model.get_weights())
    calibration.bound_to(again)
    model.layers[0].bias.assign(np.ones(5))
    with pytest.raises(ValueError, match="changed since"):
        calibration.bound_to(model)


@pytest.mark.parametrize("change", ["activation", "strides", "padding"])
def test_a_model_that_computes_something_else_with_equal_weights(change, images):
    x, _ = images
    options = {"activation": "relu", "strides": 1, "padding": "valid"}
    other = options | {change: {"activation": "tanh", "strides": 2, "padding": "same"}[change]}
    models = [
        keras.Sequential([keras.Input((6, 6, 3)), L.Conv2D(4, 3, name="conv", **each)])
        for each in (options, other)
    ]
    models[1].set_weights(models[0].get_weights())
    calibration = Calibration.from_data(models[0], x, verbose=0)
    with pytest.raises(ValueError, match="another model"):
        calibration.bound_to(models[1])
