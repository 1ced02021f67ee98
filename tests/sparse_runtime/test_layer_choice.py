"""`to_sparse_runtime`: the decisions for given times."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import to_sparse_runtime
from keras_sac.sparse_runtime import _layer_choice
from keras_sac.sparse_runtime._sparse_dense import SparseDense, sparse_of
from tests.sparse_runtime.runtimes import check_same_outputs, mlp, nested, pruned, row


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
    assert report["layer"].tolist() == ["first", "second"]
    assert report["type"].tolist() == ["Dense", "Dense"]
    assert report["runs_as"].tolist() == ["csr"] * 2
    assert report["speedup_5"].tolist() == [2.0] * 2
    assert set(report["reason"]) == {"faster"}
    zeros = [float(np.mean(keras.ops.convert_to_numpy(x.kernel) == 0)) for x in model.layers]
    np.testing.assert_allclose(report["sparsity"], zeros)
    assert min(zeros) < report.attrs["total"]["sparsity"] < max(zeros)


def test_what_is_not_stays_dense_with_its_times(rng, clock):
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
    assert report.attrs["total"]["runs_as"] == "csr"
    clock(1.05)
    runtime, report = to_sparse_runtime(model, x, min_speedup=1.0)
    assert report["runs_as"].tolist() == ["csr"] * 2


def test_it_must_be_faster_at_each_batch_size(rng, clock):
    # Two batch sizes of the first layer, two of the second, two of the whole.
    clock(2.0, 0.5, 2.0, 3.0, 1.5)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x, batch_sizes=(1, 7))
    assert [type(layer) for layer in runtime.layers] == [layers.Dense, SparseDense]
    assert row(report, "first")["reason"] == "not 1.1 times as fast at batch size 7"
    assert row(report, "first")[["speedup_1", "speedup_7"]].tolist() == [2.0, 0.5]
    assert row(report, "second")[["speedup_1", "speedup_7"]].tolist() == [2.0, 3.0]
    assert [report.attrs["total"][f"speedup_{n}"] for n in (1, 7)] == [1.5, 1.5]


def test_a_whole_that_is_slower_is_given_up(rng, clock):
    clock(2.0, 2.0, 0.9)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert [type(layer) for layer in runtime.layers] == [layers.Dense, layers.Dense]
    assert runtime is not model
    check_same_outputs(runtime, model, x)
    assert report["runs_as"].tolist() == ["dense"] * 2
    assert row(report, "first")["reason"] == "faster alone, but the whole model is not"
    assert row(report, "first")["speedup_3"] == 2.0
    assert report.attrs["total"]["reason"] == "the whole model is not faster at batch size 3"
    assert report.attrs["total"]["speedup_3"] == pytest.approx(0.9)


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_wrong_outputs_are_given_up(rng, clock, monkeypatch, wrong):
    def slightly_off(layer):
        new = sparse_of(layer)
        new.bias.assign(new.bias + wrong)
        return new

    monkeypatch.setattr(_layer_choice, "sparse_of", slightly_off)
    clock(2.0)
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    check_same_outputs(runtime, model, x)
    assert report["runs_as"].tolist() == ["dense"] * 2
    assert "outputs differ by" in report.attrs["total"]["reason"]
    assert np.isnan(report.attrs["total"].get("speedup_3", np.nan))


def test_few_zeros_are_not_measured(rng, clock):
    times = clock(2.0)
    model, x = mlp(rng, sparsity=0.3), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    assert times.asked == 0
    check_same_outputs(runtime, model, x)
    assert row(report, "first")["reason"] == "fewer than 50% of its weights are zero"
    assert np.isnan(row(report, "first")["dense_ms_3"])
    assert report.attrs["total"]["reason"] == "no layer is faster"


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
    assert "do not support bfloat16" in row(report, "half")["reason"]
    assert report["runs_as"].tolist() == ["dense", "csr"]
    assert report.attrs["total"]["runs_as"] == "csr"
    assert runtime.layers[0].compute_dtype == "bfloat16"


@pytest.mark.parametrize("jit_compile", [True, False])
def test_layers_are_timed_as_the_model_runs_them(rng, clock, monkeypatch, jit_compile):
    clock(2.0)
    asked = []
    monkeypatch.setattr(
        _layer_choice, "inference", lambda layer, x, jit: asked.append(jit) or (lambda: None)
    )
    model = pruned(keras.Sequential([keras.Input((8,)), layers.Dense(6)]), rng)
    model._jit_compile = jit_compile
    to_sparse_runtime(model, np.ones((2, 8), "float32"))
    assert asked == [jit_compile] * 2


def test_times_are_taken_on_the_largest_inputs(rng):
    model = nested(rng)
    x = {"a": np.ones((2, 4, 4, 6), "float32"), "b": np.ones((2, 6), "float32")}
    shared = model.get_layer("shared")
    seen = _layer_choice.inputs_reaching([shared], model, x)
    # It is called on (2, 4, 4, 6) twice, then on (2, 6).
    assert tuple(seen[id(shared)].shape) == (2, 4, 4, 6)
