"""`remove_units`: what is kept, how it adjusts, budgets, reports and errors."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from small_graphs import (
    depthwise,
    group_norm,
    grouped,
    inputs,
    nested,
    plain,
    recurrent,
    several_outputs,
    siamese,
    transformer,
)

from keras_sac import Calibration, footprint, remove_units


def data(samples=400, width=12, rank=6, seed=0):
    """Return correlated rows: some features follow from others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, rank)) @ rng.normal(size=(rank, width))
    return (x + 0.1 * rng.normal(size=x.shape)).astype("float32")


def mlp(units=16, outputs=5, activation="relu"):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((12,)),
            L.Dense(units, activation=activation, name="wide"),
            L.Dense(outputs, name="last"),
        ]
    )


def weights(model):
    return [np.array(ops.convert_to_numpy(each)) for each in model.weights]


def predict(model, x):
    return np.asarray(model.predict(x, verbose=0))


@pytest.mark.parametrize(
    "build",
    [depthwise, grouped, nested, recurrent, several_outputs, siamese, transformer, group_norm],
)
def test_a_third_of_every_kind_of_graph(build):
    keras.utils.set_random_seed(0)
    model = build()
    x = inputs(model, samples=24)
    before = weights(model)
    small, report = remove_units(model, x, fraction=0.3, verbose=0)
    assert small.count_params() < 0.9 * model.count_params()
    for new, old in zip(
        keras.tree.flatten(small.predict(x, verbose=0)),
        keras.tree.flatten(model.predict(x, verbose=0)),
        strict=True,
    ):
        assert new.shape == old.shape
        assert np.isfinite(new).all()
    for new, old in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(new, old)
    assert report.attrs["total"]["parameters_after"] == small.count_params()


def test_the_layer_after_is_the_least_squares_of_what_is_kept():
    model, x = mlp(), data()
    small, _ = remove_units(model, x, fraction=0.5, verbose=0)
    hidden = keras.Model(small.inputs, small.layers[0].output)
    kept, y = predict(hidden, x).astype(float), predict(model, x).astype(float)
    # The ridge of a calibration pulls towards the weights that were there.
    old = ops.convert_to_numpy(model.layers[1].kernel)
    names = ops.convert_to_numpy(model.layers[0].kernel).T
    rows = [
        int(np.flatnonzero((names == each).all(axis=1))[0])
        for each in ops.convert_to_numpy(small.layers[0].kernel).T
    ]
    centered = kept - kept.mean(axis=0)
    covariance = centered.T @ centered / len(x)
    ridge = max(1e-3, 0.2 * 8 / len(x)) * np.trace(covariance) / 8
    cross = centered.T @ (y - y.mean(axis=0)) / len(x)
    expected = np.linalg.solve(covariance + ridge * np.eye(8), cross + ridge * old[rows])
    kernel = ops.convert_to_numpy(small.layers[1].kernel)
    np.testing.assert_allclose(kernel, expected, atol=1e-4)
    np.testing.assert_allclose(predict(small, x).mean(axis=0), y.mean(axis=0), atol=1e-4)


def test_units_that_follow_from_others_cost_nothing():
    model, x = mlp(), data()
    kernel, bias = model.layers[0].get_weights()
    kernel[:, 8:], bias[8:] = kernel[:, :8], bias[:8]
    model.layers[0].set_weights([kernel, bias])
    small, report = remove_units(model, x, fraction=0.5, verbose=0)
    y = predict(model, x)
    np.testing.assert_allclose(predict(small, x), y, atol=2e-2 * np.abs(y).max())
    assert report.attrs["groups"][0]["units_after"] == 8
    by_norm, _ = remove_units(model, x, fraction=0.5, selection="l1", compensate=False, verbose=0)
    assert np.abs(predict(by_norm, x) - y).max() > 0.2 * np.abs(y).max()


def test_compensation_and_choice_are_worth_their_time():
    model, x = mlp(units=40), data()
    y = predict(model, x)

    def lost(**arguments):
        small, _ = remove_units(model, x, fraction=0.6, seed=0, verbose=0, **arguments)
        return np.mean((predict(small, x) - y) ** 2)

    best = lost()
    assert best < 0.9 * lost(selection="random")
    assert lost(selection="random") < 0.5 * lost(selection="random", compensate=False)
    assert best < lost(selection="l1")


@pytest.mark.parametrize("selection", ["reconstruction", "l1", "random"])
@pytest.mark.parametrize(
    "budget", [{"macs": 0.5}, {"parameters": 0.4}, {"macs": 0.6, "parameters": 900}]
)
def test_budgets_hold_on_the_result(budget, selection):
    model = plain()
    x = inputs(model, samples=30)
    small, report = remove_units(model, x, selection=selection, seed=1, verbose=0, **budget)
    before = footprint(model, x[:1]).attrs["total"]
    after = footprint(small, x[:1]).attrs["total"]
    limits = {k: v * before[k] if v <= 1 else v for k, v in budget.items()}
    assert all(after[name] <= limit for name, limit in limits.items())
    assert any(after[name] > 0.75 * limit for name, limit in limits.items())
    assert report.attrs["total"]["macs_after"] == after["macs"]


@pytest.mark.parametrize("selection", ["l1", "reconstruction", "random"])
def test_no_layer_of_a_group_is_emptied(selection):
    """Two branches side by side meet a third layer in a sum: one group, three layers."""
    i = keras.Input((12,))
    small = L.Dense(2, name="small")
    x = L.Concatenate()([L.Dense(10, name="large")(i), small(i)])
    model = keras.Model(i, L.Dense(3)(L.Add()([x, L.Dense(12, name="sum")(i)])))
    small.set_weights([1e-6 * np.ones((12, 2)), np.zeros(2)])
    narrow, report = remove_units(
        model, data(), fraction=0.8, selection=selection, seed=0, verbose=0
    )
    widths = [narrow.get_layer(each).units for each in ("small", "large", "sum")]
    assert min(widths) >= 1
    assert widths[2] == widths[0] + widths[1] == report.attrs["groups"][0]["units_after"] <= 3


@pytest.mark.filterwarnings("ignore:The operations of own")
def test_operations_that_are_not_known():
    class Attention(L.Layer):
        def build(self, shape):
            self.scores = self.add_weight((shape[-1], 4), name="kernel")

        def call(self, x):
            return ops.matmul(x, self.scores)

    i = keras.Input((12,))
    model = keras.Model(i, Attention(name="own")(L.Dense(6)(L.Dense(8, name="first")(i))))
    with pytest.raises(ValueError, match="`macs` needs the operations of all layers"):
        remove_units(model, data(), macs=0.5, verbose=0)
    small, _ = remove_units(model, data(), parameters=0.7, verbose=0)
    assert small.get_layer("first").units < 8


def test_round_to_and_shares():
    model, x = mlp(units=21), data()
    for round_to, fraction, kept in (
        (1, 0.5, (10, 11)),
        (8, 0.5, (8,)),
        (4, 0.0, (20, 21)),
        (1, 0.99, (1,)),
    ):
        small, _ = remove_units(model, x, fraction=fraction, round_to=round_to, verbose=0)
        assert small.layers[0].units in kept
    same, _ = remove_units(model, x, fraction=0.0, verbose=0)
    np.testing.assert_array_equal(predict(same, x), predict(model, x))


def test_what_new_layers_keep():
    def swish_like(x):
        return x * ops.sigmoid(x)

    class Halve(keras.regularizers.Regularizer):
        def __call__(self, x):
            return 0.5 * ops.sum(x)

        def get_config(self):
            return {}

    i = keras.Input((12,))
    wide = L.Dense(
        16,
        activation=swish_like,
        kernel_regularizer=Halve(),
        kernel_constraint=keras.constraints.NonNeg(),
        dtype="mixed_float16",
        name="wide",
    )
    last = L.Dense(3, name="last")
    model = keras.Model(i, last(wide(i)))
    wide.trainable = False
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    small, _ = remove_units(model, data(), fraction=0.5, verbose=0)
    new = small.get_layer("wide")
    assert new.activation is swish_like
    assert isinstance(new.kernel_regularizer, Halve)
    assert isinstance(new.kernel_constraint, keras.constraints.NonNeg)
    assert (new.trainable, new.dtype_policy.name) == (False, "mixed_float16")
    assert [each.path for each in small.weights] == [each.path for each in model.weights]
    assert small.compiled
    assert isinstance(small.optimizer, keras.optimizers.Adam)
    small.fit(data(), np.zeros((400, 3)), epochs=1, verbose=0)


def test_the_result_is_saved_and_loaded(tmp_path):
    model = nested()
    x = inputs(model, samples=20)
    small, _ = remove_units(model, x, fraction=0.5, verbose=0)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    np.testing.assert_allclose(predict(loaded, x), predict(small, x), atol=1e-6)
    assert small.get_layer("inner").get_layer("in_1").filters == 3


def test_a_layer_without_configuration_is_left_alone():
    class Own(keras.regularizers.Regularizer):
        def __call__(self, x):
            return 0.5 * ops.sum(x)

    i = keras.Input((12,))
    x = L.Dense(16, activation="relu", name="first")(i)
    x = L.Dense(16, kernel_regularizer=Own(), name="own")(x)
    model = keras.Model(i, L.Dense(3)(L.Dense(8, name="third")(x)))
    small, report = remove_units(model, data(), fraction=0.5, verbose=0)
    assert [small.get_layer(each).units for each in ("first", "own", "third")] == [16, 16, 4]
    rows = report.set_index("layer")
    assert "having no configuration" in rows.loc["own", "reason"]
    assert "reach 'own'" in rows.loc["first", "reason"]


def test_heads_of_attention():
    model = transformer()
    x = inputs(model, samples=40)
    small, report = remove_units(model, x, fraction=0.5, targets="multi_head", verbose=0)
    layers = [each for each in small.layers if isinstance(each, L.MultiHeadAttention)]
    assert [each.num_heads for each in layers] == [2, 2]
    assert [each.key_dim for each in layers] == [4, 4]
    widths = [each.units for each in small.layers if isinstance(each, L.Dense)]
    assert widths == [16, 24, 16, 24, 16, 5]  # the residual stream is not the attention's alone
    assert any("coupled to those of" in group["reason"] for group in report.attrs["groups"])


def test_targets_and_calibrations():
    model = plain()
    x = inputs(model, samples=30)
    calibration = Calibration.from_data(model, x, verbose=0)
    small, report = remove_units(model, calibration, fraction=0.5, targets="second", verbose=0)
    assert [small.get_layer(n).kernel.shape[-1] for n in ("first", "second", "wide")] == [8, 5, 12]
    rows = report.set_index("layer")
    assert rows.loc["first", "method"] == "none"
    assert rows.loc["first", "reason"] == "not among the targets"
    assert list(rows.loc[["second", "wide"], "method"]) == ["structured", "structured"]
    assert rows.loc["wide", "inputs"] == 4 * 4 * 5
    assert 0 < rows.loc["wide", "measured_loss"] < 1
    assert rows.loc["second", "measured_loss"] == rows.loc["wide", "predicted_loss"] == 0
    expected = next(g for g in report.attrs["groups"] if g["layers"] == ["second"])
    assert rows.loc["second", "predicted_loss"] == pytest.approx(expected["predicted_loss"])
    assert expected["predicted_loss"] > 0
    assert rows.loc["second", "parameters_after"] == 3 * 3 * 8 * 5
    again, _ = remove_units(model, calibration, fraction=0.5, targets="second", verbose=0)
    for new, old in zip(weights(again), weights(small), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs `fraction`, or one or both"),
        ({"fraction": 0.5, "macs": 0.5}, "needs `fraction`, or one or both"),
        ({"fraction": 1.0}, r"must be a number in \[0, 1\)"),
        ({"fraction": 50}, "Did you mean 0.5"),
        ({"macs": 0.0}, "a fraction of the model, or an absolute number"),
        ({"macs": True}, "a fraction of the model, or an absolute number"),
        ({"parameters": 0.001}, "the smallest possible is"),
        ({"fraction": 0.5, "targets": "last"}, "cannot be removed: they are outputs of the model"),
        ({"fraction": 0.5, "targets": "nowhere"}, "nowhere"),
        ({"fraction": 0.5, "selection": "l2"}, "`selection` must be"),
        ({"fraction": 0.5, "round_to": 0}, "`round_to`"),
    ],
)
def test_bad_arguments_leave_the_model_alone(arguments, message):
    model, x = mlp(), data()
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        remove_units(model, x, verbose=0, **arguments)
    for new, old in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(new, old)


def test_models_that_cannot_lose_units():
    x = data()
    model = keras.Sequential([keras.Input((12,)), L.Dense(3)], name="only")
    with pytest.raises(ValueError, match="No unit of 'only' can be removed"):
        remove_units(model, x, fraction=0.5, verbose=0)

    class Scale(L.Layer):
        def build(self, shape):
            self.scale = self.add_weight((shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

    i = keras.Input((12,))
    scaled = keras.Model(i, Scale(name="mine")(L.Dense(4, name="first")(i)))
    with pytest.raises(ValueError, match=r"first: they reach 'mine'.*mine: the class Scale is not"):
        remove_units(scaled, x, fraction=0.5, verbose=0)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(3)

        def call(self, x):
            return self.dense(x)

    own = Own()
    own(x[:1])
    with pytest.raises(ValueError, match="needs a Functional or Sequential model"):
        remove_units(own, x, fraction=0.5, verbose=0)
    with pytest.raises(ValueError, match="shape|size"):
        remove_units(mlp(), x[:, :5], fraction=0.5, verbose=0)
