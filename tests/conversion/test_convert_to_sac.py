"""`convert_to_sac`: budgets, ranks, reports, and what can be done with the result."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration, convert_to_sac, footprint, merge_sac
from keras_sac.layers import SACConv2D, SACDense
from tests.marks import slow_on_jax


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def network(padding="valid", strides=1, bias=True):
    return keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            L.Conv2D(16, 3, padding=padding, use_bias=bias, name="first"),
            L.BatchNormalization(name="norm"),
            L.ReLU(),
            L.Conv2D(24, 3, strides=strides, padding=padding, activation="relu", name="second"),
            L.Flatten(),
            L.Dense(20, activation="relu", name="wide"),
            L.Dense(4, name="last"),
        ]
    )


CE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@pytest.fixture
def data(rng):
    x = rng.normal(size=(60, 10, 10, 3)).astype("float32")
    x[:, 1:] += x[:, :-1]
    return x, rng.integers(0, 4, 60)


def totals(model, x):
    return footprint(model, x[:1], compression=False).attrs["total"]


@pytest.mark.parametrize(
    "budget",
    [
        {"macs": 0.5},
        {"parameters": 0.4},
        {"macs": 0.6, "parameters": 0.3},
        {"macs": 60_000},
        {"parameters": 5_000.0},
        {"macs": 1.0},
        {"parameters": 1},
    ],
)
@pytest.mark.parametrize("geometry", [("valid", 1), ("same", 2)])
def test_budgets_hold_on_the_result(budget, geometry, data):
    x, y = data
    model = network(*geometry)
    model.compile("sgd", CE)
    small, report = convert_to_sac(model, x, y, round_to=4, verbose=0, **budget)
    before, after = totals(model, x), totals(small, x)
    for name, value in budget.items():
        assert after[name] <= (value * before[name] if value <= 1 else value)
        assert report.attrs["total"][f"{name}_before"] == before[name]
        assert report.attrs["total"][f"{name}_after"] == after[name]
    kernels = sum(int(np.prod(each.shape)) for each in small.weights if "kernel" not in each.path)
    assert kernels  # biases and normalizations are there still
    assert np.isfinite(small.predict(x, verbose=0)).all()
    rows = report[report["method"] == "low_rank"]
    changed = report["parameters_after"] - report["parameters_before"]
    assert changed.sum() == after["parameters"] - before["parameters"]
    change = report["macs_after"] - report["macs_before"]
    assert change.sum() == after["macs"] - before["macs"]
    assert list(report["layer"]) == ["first", "second", "wide", "last"]
    assert rows["rank"].gt(0).all()


def test_a_whole_budget_changes_nothing_that_matters(data):
    x, y = data
    model = network()
    same, _ = convert_to_sac(model, x, y, loss=CE, macs=1.0, verbose=0)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(
        same.predict(x, verbose=0), expected, atol=1e-4 * np.abs(expected).max()
    )


def test_a_budget_that_cannot_be_met(data):
    x, _ = data
    with pytest.raises(ValueError, match=r"smallest possible.*parameters=[\d,]+ \(0\.\d+ of"):
        convert_to_sac(network(), x, parameters=0.01, verbose=0)


@pytest.mark.parametrize("criterion", [None, "fisher", "output", "input"])
@pytest.mark.parametrize("sequential", [True, False])
def test_the_original_is_not_changed(criterion, sequential, data):
    x, y = data
    model = network(bias=False)
    model.compile("sgd", CE)
    weights, expected = model.get_weights(), model.predict(x, verbose=0)
    small, report = convert_to_sac(
        model, x, y, macs=0.6, criterion=criterion, sequential=sequential, verbose=0
    )
    for one, two in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    shared = {id(each) for each in model.variables} & {id(each) for each in small.variables}
    assert not shared
    assert report["measured_loss"].between(0, 1).all()


def test_ranks_for_all_layers_and_by_name(data):
    x, _ = data
    model = network()
    small, report = convert_to_sac(model, x, rank=2, verbose=0)
    assert report["rank"].tolist() == [2, 2, 2, 2]
    assert isinstance(small.get_layer("second"), SACConv2D)
    small, report = convert_to_sac(model, x, rank={"wide": 3}, verbose=0)
    assert isinstance(small.get_layer("wide"), SACDense)
    assert small.get_layer("wide").rank == 3
    assert (report["method"] == "low_rank").tolist() == [False, False, True, False]
    with pytest.raises(ValueError, match="'wid', which is the name of 0"):
        convert_to_sac(model, x, rank={"wid": 3}, verbose=0)
    # A layer that would not become smaller stays.
    _, report = convert_to_sac(model, x, rank=1000, verbose=0)
    assert (report["method"] != "low_rank").all()
    assert report["reason"].ne("").all()


@pytest.mark.parametrize("fraction", [0.5, 0.8, 0.95])
def test_explained_variance(fraction, rng):
    x = (rng.normal(size=(2000, 30)) * 0.8 ** np.arange(30)).astype("float32")
    model = keras.Sequential([keras.Input((30,)), L.Dense(30, name="layer")])
    options = {"sequential": False, "verbose": 0}
    _, report = convert_to_sac(model, x, explained_variance=fraction, round_to=1, **options)
    # Up to the ridge of a thousandth.
    assert report["measured_loss"][0] <= 1 - fraction + 0.002
    less = {"layer": int(report["rank"][0]) - 1}
    if less["layer"]:
        _, report = convert_to_sac(model, x, rank=less, **options)
        assert report["measured_loss"][0] > 1 - fraction - 0.002


def test_explained_variance_of_one_reproduces_the_model(data, rng):
    x, y = data
    model = network("same", bias=False)
    model.compile("sgd", CE)
    # Kernels that are products already: of two convolutions, and of two matrices of rank 5.
    columns, rows = rng.normal(size=(3, 3, 4)), rng.normal(size=(3, 4, 16))
    model.get_layer("first").kernel.assign(np.einsum("ycr,xrm->yxcm", columns, rows))
    first, then = rng.normal(size=(16, 6)), rng.normal(size=(6, 3, 3, 24))
    model.get_layer("second").kernel.assign(np.einsum("cr,ryxm->yxcm", first, then) / 10)
    wide = rng.normal(size=(2400, 5)) @ rng.normal(size=(5, 20))
    model.get_layer("wide").kernel.assign(wide / 100)
    small, report = convert_to_sac(model, x, y, explained_variance=1.0, round_to=1, verbose=0)
    expected = model.predict(x, verbose=0)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(
        small.predict(x, verbose=0), expected, atol=1e-4 * np.abs(expected).max()
    )
    chosen = report.set_index("layer").loc[["first", "second", "wide"], ["reading", "rank"]]
    assert chosen.values.tolist() == [["spatial", 4], ["channels", 6], ["patches", 5]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "none of them"),
        ({"rank": 2, "macs": 0.5}, "rank=2, macs=0.5"),
        ({"rank": 2, "explained_variance": 0.5}, "exactly one"),
        ({"rank": 0}, "rank"),
        ({"rank": 2.5}, "rank"),
        ({"rank": {"wide": -1}}, "rank"),
        ({"macs": 0}, "macs"),
        ({"macs": -0.5}, "macs"),
        ({"macs": float("nan")}, "macs"),
        ({"macs": float("inf")}, "macs"),
        ({"macs": "half"}, "macs"),
        ({"parameters": True}, "parameters"),
        ({"explained_variance": 1.1}, "explained_variance"),
        ({"explained_variance": 0.0}, "explained_variance"),
        ({"macs": 0.5, "criterion": "fisher"}, "needs labels"),
        ({"macs": 0.5, "criterion": "svd"}, "criterion"),
        ({"macs": 0.5, "round_to": 0}, "round_to"),
        ({"macs": 0.5, "targets": "nothing"}, "nothing"),
        ({"macs": 0.5, "loss": "mse"}, "`loss` needs labels"),
    ],
)
def test_arguments_that_are_wrong(options, message, data):
    x, _ = data
    with pytest.raises(ValueError, match=message):
        convert_to_sac(network(), x, verbose=0, **options)


def test_labels_beside_a_calibration(data):
    x, y = data
    model = network()
    calibration = Calibration.from_data(model, x, verbose=0)
    with pytest.raises(ValueError, match="`y` beside a calibration"):
        convert_to_sac(model, calibration, y, macs=0.5, verbose=0)
    with pytest.raises(ValueError, match="another model"):
        convert_to_sac(network(), calibration, macs=0.5, verbose=0)


def test_targets(data):
    x, _ = data
    model = network()
    _, report = convert_to_sac(model, x, rank=2, targets="second|last", verbose=0)
    found = report.set_index("layer")
    assert set(found.index) == {"first", "second", "wide", "last"}
    low = found["method"] == "low_rank"
    assert set(found.index[low]) == {"second", "last"}
    assert (found.loc[["first", "wide"], "reason"] == "not among the targets").all()


@slow_on_jax
# Keras' own for each model that is saved between `compile` and `fit`.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_the_result_saves_merges_and_goes_on_training(data, tmp_path):
    x, y = data
    model = network()
    model.compile(keras.optimizers.Adam(3e-3), CE, metrics=["accuracy"])
    model.fit(x, y, verbose=0)
    small, _ = convert_to_sac(model, x, y, macs=0.5, verbose=0)
    assert type(small.optimizer) is type(model.optimizer)
    assert float(numpy(small.optimizer.learning_rate)) == pytest.approx(3e-3)
    assert int(numpy(small.optimizer.iterations)) == 0
    assert small.optimizer is not model.optimizer
    expected = small.predict(x, verbose=0)
    small.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-6)
    merged, _ = merge_sac(small)
    np.testing.assert_allclose(merged.predict(x, verbose=0), expected, atol=1e-4)
    bases = {e.name: numpy(e.basis) for e in small.layers if hasattr(e, "basis")}
    learners = {e.name: numpy(e.learner) for e in small.layers if hasattr(e, "basis")}
    assert bases
    history = small.fit(x, y, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert "accuracy" in history
    for name, basis in bases.items():
        np.testing.assert_array_equal(numpy(small.get_layer(name).basis), basis)
        assert not np.array_equal(numpy(small.get_layer(name).learner), learners[name])


def test_without_a_bias_the_normalization_is_corrected(data):
    x, _ = data
    x = x + 2.0  # means that an error would shift
    model = network(bias=False)
    small, report = convert_to_sac(model, x, rank={"first": 3}, sequential=False, verbose=0)
    assert report["method"].tolist()[0] == "low_rank"
    conv, norm = model.get_layer("first"), model.get_layer("norm")
    new, shifted = small.get_layer("first"), small.get_layer("norm")
    wanted = numpy(conv(x)) - numpy(norm.moving_mean)
    made = numpy(new(x)) - numpy(shifted.moving_mean)
    np.testing.assert_allclose(made.mean(axis=(0, 1, 2)), wanted.mean(axis=(0, 1, 2)), atol=1e-3)
    np.testing.assert_array_equal(numpy(norm.moving_variance), numpy(shifted.moving_variance))


def test_attention_and_layers_of_a_subclassed_model(rng):
    class Block(keras.Model):
        def __init__(self):
            super().__init__()
            self.attention = L.MultiHeadAttention(2, 8, name="attention")
            self.norms = [L.LayerNormalization(), L.LayerNormalization()]
            self.mlp = {"up": L.Dense(32, "gelu", name="up"), "down": L.Dense(16, name="down")}

        def build(self, shape):
            self.attention.build(shape, shape)
            for norm in self.norms:
                norm.build(shape)
            self.mlp["up"].build(shape)
            self.mlp["down"].build((*shape[:-1], 32))
            self.built = True

        def call(self, x):
            x = self.norms[0](x + self.attention(x, x))
            return self.norms[1](x + self.mlp["down"](self.mlp["up"](x)))

    model = Block()
    model.build((None, 6, 16))
    x = rng.normal(size=(50, 6, 16)).astype("float32")
    expected = model.predict(x, verbose=0)
    small, report = convert_to_sac(model, x, parameters=0.6, round_to=2, verbose=0)
    assert len(report) == 6
    assert (report["method"] == "low_rank").sum() >= 3
    assert isinstance(small.mlp["up"], SACDense) or isinstance(small.mlp["down"], SACDense)
    assert totals(small, x)["parameters"] <= 0.6 * totals(model, x)["parameters"]
    error = np.square(small.predict(x, verbose=0) - expected).mean()
    assert error < 0.5 * np.square(expected).mean()
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    full, _ = convert_to_sac(model, x, explained_variance=1.0, verbose=0)
    np.testing.assert_allclose(full.predict(x, verbose=0), expected, atol=3e-4)


def test_nothing_is_printed(data, capsys):
    x, _ = data
    convert_to_sac(network(), x, macs=0.5, verbose=0)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_no_layer_that_can_be_converted(rng):
    model = keras.Sequential([keras.Input((5, 3)), L.LSTM(4, name="rnn")])
    x = rng.normal(size=(9, 5, 3)).astype("float32")
    with pytest.raises(ValueError, match="No layer of .* rnn:kernel"):
        convert_to_sac(model, x, macs=0.5, verbose=0)


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("level", [{"rank": 2}, {"macs": 0.5}, {"explained_variance": 0.9}])
def test_few_samples_dead_units_and_equal_columns(samples, level, data):
    x, y = data
    model = network()
    kernel = numpy(model.get_layer("second").kernel)
    kernel[..., 3] = 0.0
    kernel[..., 5] = kernel[..., 4]
    model.get_layer("second").kernel.assign(kernel)
    model.get_layer("wide").bias.assign(np.full(20, -100.0))  # dead after the activation
    for labels, loss in ((None, None), (y[:samples], CE)):
        small, report = convert_to_sac(model, x[:samples], labels, loss=loss, verbose=0, **level)
        assert np.isfinite(small.predict(x, verbose=0)).all()
        assert np.isfinite(report["measured_loss"]).all()


def test_lower_loss_than_by_singular_values_of_the_weights(data):
    x, _ = data
    model = network()
    x[..., 0] *= 5  # inputs that are far from white
    small, _ = convert_to_sac(model, x, rank=4, verbose=0)
    layers = {layer.name: layer for layer in model.layers}
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    for name in ("first", "second", "wide"):
        kernel = numpy(layers[name].kernel)
        left, values, right = np.linalg.svd(
            kernel.reshape(-1, kernel.shape[-1]), full_matrices=False
        )
        cut = (left[:, :4] * values[:4]) @ right[:4]
        other.get_layer(name).kernel.assign(cut.reshape(kernel.shape))
    expected = model.predict(x, verbose=0)
    ours, theirs = (
        np.square(each.predict(x, verbose=0) - expected).mean() for each in (small, other)
    )
    assert ours < 0.7 * theirs
