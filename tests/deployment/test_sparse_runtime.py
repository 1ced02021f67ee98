"""`to_sparse_runtime`: what is decided for given times, and that the outputs stay the same."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import SACDense
from keras_sac.deployment import _choose, _side_by_side
from keras_sac.deployment._sparse_layers import SparseDense, sparse_of
from keras_sac.deployment._sparse_runtime import to_sparse_runtime


class Times:
    """Stands for the clock: runs all calls once, and gives the times that were asked for."""

    def __init__(self, *speedups):
        self.speedups = list(speedups)
        self.asked = 0

    def __call__(self, calls, *, repeats, seconds, in_a_row=1):
        for call in calls.values():
            call()
        # The last one stands for all that follow.
        speedup = self.speedups[min(self.asked, len(self.speedups) - 1)]
        self.asked += 1
        return {"dense": 3.0 * speedup, "sparse": 3.0}


@pytest.fixture
def clock(monkeypatch):
    def set_to(*speedups):
        times = Times(*speedups)
        monkeypatch.setattr(_side_by_side, "median_milliseconds", times)
        return times

    return set_to


def pruned(model, rng, sparsity=0.8):
    for weight in model.weights:
        values = rng.normal(size=weight.shape)
        if len(weight.shape) > 1:
            values *= rng.random(weight.shape) >= sparsity
        weight.assign(np.abs(values) if "variance" in weight.name else values)
    return model


def mlp(rng, **kwargs):
    stack = [keras.Input((20,)), layers.Dense(16, activation="relu", name="first")]
    return pruned(keras.Sequential([*stack, layers.Dense(12, name="second")]), rng, **kwargs)


def outputs_of(model, x):
    return [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]


def check_same_outputs(runtime, model, x):
    for one, other in zip(outputs_of(runtime, x), outputs_of(model, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def row(report, name):
    return report.set_index("layer").loc[name]


def test_what_is_faster_runs_sparse(rng, clock):
    clock(2.0)
    model, x = mlp(rng), rng.normal(size=(5, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert [type(layer) for layer in runtime.layers] == [SparseDense, SparseDense]
    assert [layer.name for layer in runtime.layers] == ["first", "second"]
    assert not runtime.compiled
    check_same_outputs(runtime, model, x)
    assert report.columns.tolist() == [
        *("layer", "type", "sparsity", "runs_as"),
        *("dense_ms_5", "sparse_ms_5", "speedup_5", "reason"),
    ]
    assert report["layer"].tolist() == ["first", "second", "total"]
    assert report["type"].tolist() == ["Dense", "Dense", "Sequential"]
    assert report["runs_as"].tolist() == ["csr"] * 3
    assert report["speedup_5"].tolist() == [2.0] * 3
    assert set(report["reason"]) == {"faster"}
    zeros = [float(np.mean(keras.ops.convert_to_numpy(x.kernel) == 0)) for x in model.layers]
    np.testing.assert_allclose(report["sparsity"][:2], zeros)
    assert min(zeros) < report["sparsity"][2] < max(zeros)


def test_what_is_not_stays_dense_with_its_figures(rng, clock):
    times = clock(1.05, 2.0)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert [type(layer) for layer in runtime.layers] == [layers.Dense, SparseDense]
    assert times.asked == 3
    check_same_outputs(runtime, model, x)
    first = row(report, "first")
    assert first["runs_as"] == "dense"
    assert first["speedup_3"] == pytest.approx(1.05)
    assert first["reason"] == "not 1.1 times as fast at batch size 3"
    assert row(report, "total")["runs_as"] == "csr"
    clock(1.05)
    runtime, report = to_sparse_runtime(model, x, min_speedup=1.0)
    assert report["runs_as"].tolist() == ["csr"] * 3


def test_it_must_be_faster_at_each_batch_size(rng, clock):
    # Two batch sizes of the first layer, two of the second, two of the whole.
    clock(2.0, 0.5, 2.0, 3.0, 1.5)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x, batch_sizes=(1, 7))
    assert [type(layer) for layer in runtime.layers] == [layers.Dense, SparseDense]
    assert row(report, "first")["reason"] == "not 1.1 times as fast at batch size 7"
    assert row(report, "first")[["speedup_1", "speedup_7"]].tolist() == [2.0, 0.5]
    assert row(report, "second")[["speedup_1", "speedup_7"]].tolist() == [2.0, 3.0]
    assert row(report, "total")[["speedup_1", "speedup_7"]].tolist() == [1.5, 1.5]


def test_a_whole_that_is_slower_is_given_up(rng, clock):
    clock(2.0, 2.0, 0.9)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert [type(layer) for layer in runtime.layers] == [layers.Dense, layers.Dense]
    assert runtime is not model
    check_same_outputs(runtime, model, x)
    assert report["runs_as"].tolist() == ["dense"] * 3
    assert row(report, "first")["reason"] == "faster by itself, but given up with the whole"
    assert row(report, "first")["speedup_3"] == 2.0
    assert row(report, "total")["reason"] == "not faster as a whole at batch size 3"
    assert row(report, "total")["speedup_3"] == pytest.approx(0.9)


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_wrong_outputs_are_given_up(rng, clock, monkeypatch, wrong):
    def slightly_off(layer):
        new = sparse_of(layer)
        new.bias.assign(new.bias + wrong)
        return new

    monkeypatch.setattr(_choose, "sparse_of", slightly_off)
    clock(2.0)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    check_same_outputs(runtime, model, x)
    assert report["runs_as"].tolist() == ["dense"] * 3
    assert "outputs differ by" in row(report, "total")["reason"]
    assert np.isnan(row(report, "total")["speedup_3"])


def test_few_zeros_are_not_measured(rng, clock):
    times = clock(2.0)
    model, x = mlp(rng, sparsity=0.3), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert times.asked == 0
    check_same_outputs(runtime, model, x)
    assert row(report, "first")["reason"] == "fewer than 50% of its weights are zero"
    assert np.isnan(row(report, "first")["dense_ms_3"])
    assert row(report, "total")["reason"] == "no layer is faster"


def nested(rng):
    shared = layers.Dense(6, activation="tanh", name="shared")
    inner = keras.Sequential(
        [keras.Input((4, 4, 6)), layers.Conv2D(6, 1, name="pointwise"), shared], name="inner"
    )
    a, b = keras.Input((4, 4, 6), name="a"), keras.Input((6,), name="b")
    hidden = layers.BatchNormalization(name="norm")(inner(inner(a)))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="filters")(hidden))
    thin = SACDense(6, "random", rank=2, name="thin")(shared(layers.Add()([pooled, b])))
    heads = [layers.Dense(3, name="one")(thin), layers.Dense(1, name="two")(thin)]
    return pruned(keras.Model({"a": a, "b": b}, heads), rng)


def test_nested_shared_and_several_inputs(rng, clock):
    clock(2.0)
    model = nested(rng)
    x = {
        "a": rng.normal(size=(3, 4, 4, 6)).astype("float32"),
        "b": rng.normal(size=(3, 6)).astype("float32"),
    }
    before = [w.copy() for w in model.get_weights()]
    runtime, report = to_sparse_runtime(model, x, batch_sizes=[2])
    check_same_outputs(runtime, model, x)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    kinds = report.set_index("layer")["runs_as"].to_dict()
    assert kinds == {
        **{"pointwise": "csr", "shared": "csr", "one": "csr", "two": "csr"},
        **{"norm": "dense", "filters": "dense", "thin": "dense", "total": "csr"},
    }
    assert row(report, "filters")["reason"] == "its filters are larger than 1x1"
    assert row(report, "thin")["reason"] == "no Dense, EinsumDense or 1x1 convolution"
    assert np.isnan(row(report, "norm")["sparsity"])
    inner = runtime.get_layer("inner")
    assert inner.get_layer("shared") is runtime.get_layer("shared")


@pytest.mark.parametrize("jit_compile", [True, False])
def test_layers_are_timed_as_the_model_runs_them(rng, clock, monkeypatch, jit_compile):
    clock(2.0)
    asked = []
    monkeypatch.setattr(
        _side_by_side, "inference", lambda layer, x, jit: asked.append(jit) or (lambda: None)
    )
    model = pruned(keras.Sequential([keras.Input((8,)), layers.Dense(6)]), rng)
    model._jit_compile = jit_compile
    to_sparse_runtime(model, np.ones((2, 8), "float32"))
    assert asked == [jit_compile] * 2


def test_times_are_taken_on_the_largest_inputs(rng):
    model = nested(rng)
    x = {"a": np.ones((2, 4, 4, 6), "float32"), "b": np.ones((2, 6), "float32")}
    shared = model.get_layer("shared")
    seen = _choose.inputs_reaching([shared], model, x)
    # It is called on (2, 4, 4, 6) twice, then on (2, 6).
    assert tuple(seen[id(shared)].shape) == (2, 4, 4, 6)


def test_layers_with_other_inputs_are_only_reported(rng, clock):
    clock(2.0)
    tokens = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(7, 8, name="tokens")(tokens)
    hidden = layers.MultiHeadAttention(2, 4, name="heads")(hidden, value=hidden)
    hidden = layers.Bidirectional(layers.LSTM(4), name="both")(hidden)
    model = pruned(keras.Model(tokens, layers.Dense(3, name="last")(inputs=hidden)), rng)
    x = rng.integers(1, 7, (4, 5))
    runtime, report = to_sparse_runtime(model, x)
    check_same_outputs(runtime, model, x)
    kinds = report.set_index("layer")["runs_as"].to_dict()
    assert kinds.pop("last") == kinds.pop("total") == "csr"
    assert kinds == dict.fromkeys(("tokens", "heads", "both"), "dense")


def test_a_model_in_training_is_not_disturbed(rng, clock):
    clock(2.0)
    model, x = mlp(rng), rng.normal(size=(8, 20)).astype("float32")
    model.compile("sgd", "mse")
    y = np.zeros((8, 12))
    model.fit(x, y, verbose=0)
    runtime, _ = to_sparse_runtime(model, x)
    assert model.compiled
    before = outputs_of(runtime, x)
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(outputs_of(runtime, x)[0], before[0])


def test_half_precision_stays_dense_without_a_gpu(rng, clock):
    times = clock(2.0)
    model = keras.Sequential(
        [
            keras.Input((20,)),
            layers.Dense(16, dtype="mixed_bfloat16", name="half"),
            layers.Dense(12, dtype="float32", name="single"),
        ]
    )
    x = rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(pruned(model, rng), x)
    assert times.asked == 2
    assert "not in bfloat16" in row(report, "half")["reason"]
    assert report["runs_as"].tolist() == ["dense", "csr", "csr"]
    assert runtime.layers[0].compute_dtype == "bfloat16"


class Unused(keras.Model):
    def call(self, inputs):
        return inputs


def test_bad_input(rng):
    model, x = mlp(rng), np.ones((3, 20), "float32")
    with pytest.raises(ValueError, match="Functional or Sequential.*Unused"):
        to_sparse_runtime(Unused(), x)
    with pytest.raises(ValueError, match="has no weights"):
        to_sparse_runtime(keras.Sequential([layers.Dense(3)]), x)
    with pytest.raises(ValueError, match="1 array.*Received 2"):
        to_sparse_runtime(model, [x, x])
    with pytest.raises(ValueError, match="samples"):
        to_sparse_runtime(model, np.float32(3.0))
    with pytest.raises(ValueError, match=r"\(0, 20\)"):
        to_sparse_runtime(model, x[:0])
    with pytest.raises(ValueError, match="at least one batch size"):
        to_sparse_runtime(model, x, batch_sizes=[])
    with pytest.raises(ValueError, match="batch_sizes"):
        to_sparse_runtime(model, x, batch_sizes=[0])
    with pytest.raises(ValueError, match="min_speedup"):
        to_sparse_runtime(model, x, min_speedup=0.5)
    with pytest.raises(ValueError, match="repeats"):
        to_sparse_runtime(model, x, repeats=0)
    lengths = {"a": np.ones((3, 4, 4, 6)), "b": np.ones((2, 6))}
    with pytest.raises(ValueError, match=r"\(3, 4, 4, 6\), \(2, 6\)"):
        to_sparse_runtime(nested(rng), lengths)


def test_it_says_what_it_decides(rng, clock, capsys):
    clock(2.0)
    to_sparse_runtime(mlp(rng), np.ones((3, 20), "float32"), verbose=1)
    assert capsys.readouterr().out.splitlines() == [
        "first: csr, faster",
        "second: csr, faster",
        "total: csr, faster",
    ]


def test_with_the_real_clock(rng):
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x, batch_sizes=(1, 3), repeats=5, seconds=0.0)
    check_same_outputs(runtime, model, x)
    measured = report.filter(like="ms_")[:2]
    assert measured.shape == (2, 4)
    assert (measured > 0).all(axis=None)
