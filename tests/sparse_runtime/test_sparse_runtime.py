"""`to_sparse_runtime`: the outputs of all kinds of models stay the same; bad input."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import to_sparse_runtime
from keras_sac._model import all_layers
from keras_sac._run import largest_difference
from keras_sac.sparse_runtime import _sparse_runtime
from tests.cuda_tensors import CudaTensor
from tests.sparse_runtime.runtimes import check_same_outputs, mlp, nested, outputs_of, pruned, row


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
    assert all("call" not in vars(layer) for layer in all_layers(model))
    kinds = report.set_index("layer")["runs_as"].to_dict()
    assert kinds == {
        **{"pointwise": "csr", "shared": "csr", "one": "csr", "two": "csr"},
        **{"norm": "dense", "filters": "dense", "thin": "dense"},
    }
    assert report.attrs["total"]["runs_as"] == "csr"
    assert row(report, "filters")["reason"] == "its filters are larger than 1x1"
    assert row(report, "thin")["reason"] == "not a Dense, an EinsumDense or a 1x1 convolution"
    assert np.isnan(row(report, "norm")["sparsity"])
    inner = runtime.get_layer("inner")
    assert inner.get_layer("shared") is runtime.get_layer("shared")


def test_operators_and_python_functions_between_the_layers(rng, clock):
    clock(2.0)
    inputs = keras.Input((16,))
    hidden = layers.Dense(16, name="wide")(inputs) + inputs
    hidden = keras.ops.relu(layers.Lambda(lambda x: x * 2.0)(hidden))[:, :8]
    model = pruned(keras.Model(inputs, layers.Dense(8)(hidden) - hidden), rng)
    x = rng.normal(size=(4, 16)).astype("float32")
    runtime, report = to_sparse_runtime(model, x)
    check_same_outputs(runtime, model, x)
    assert row(report, "wide")["runs_as"] == "csr"


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
    assert kinds.pop("last") == report.attrs["total"]["runs_as"] == "csr"
    assert kinds == dict.fromkeys(("tokens", "heads", "both"), "dense")


def precision():
    """The setting that decides how exact float32 products are on a GPU."""
    match keras.backend.backend():
        case "torch":
            import torch

            return torch.backends.cudnn.allow_tf32
        case "jax":
            import jax

            return jax.config.jax_default_matmul_precision
        case _:
            import tensorflow as tf

            return tf.config.experimental.tensor_float_32_execution_enabled()


def test_outputs_are_compared_in_full_precision_and_timed_as_they_run(rng, clock, monkeypatch):
    times = clock(2.0)
    compared, timed, before = [], [], precision()

    def compare(found, expected):
        compared.append(precision())
        return largest_difference(found, expected)

    def measure(calls, **kwargs):
        timed.append(precision())
        return times(calls, **kwargs)

    monkeypatch.setattr(_sparse_runtime, "largest_difference", compare)
    monkeypatch.setattr(_sparse_runtime, "median_milliseconds", measure)
    to_sparse_runtime(mlp(rng), rng.normal(size=(4, 20)).astype("float32"), batch_sizes=[2, 4])
    exact = {"torch": False, "jax": "highest", "tensorflow": False}[keras.backend.backend()]
    assert compared == [exact, exact]
    assert exact != before
    # Two layers and the whole model, at two batch sizes.
    assert timed == [before] * 6
    assert precision() == before


def test_a_sample_on_a_gpu(rng, clock):
    clock(2.0)
    model, x = mlp(rng), rng.normal(size=(4, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, CudaTensor(x))
    assert report.attrs["total"]["runs_as"] == "csr"
    check_same_outputs(runtime, model, x)


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


class Unused(keras.Model):
    def call(self, inputs):
        return inputs


def test_bad_input(rng):
    model, x = mlp(rng), np.ones((3, 20), "float32")
    with pytest.raises(ValueError, match="Functional or Sequential.*Unused"):
        to_sparse_runtime(Unused(), x)
    with pytest.raises(ValueError, match="has no weights"):
        to_sparse_runtime(keras.Sequential([layers.Dense(3)]), x)
    with pytest.raises(ValueError, match=r"1 array.*Received: 2"):
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
    with pytest.raises(ValueError, match="`verbose` must be one of"):
        to_sparse_runtime(model, x, verbose=3)
    lengths = {"a": np.ones((3, 4, 4, 6)), "b": np.ones((2, 6))}
    with pytest.raises(ValueError, match=r"\(3, 4, 4, 6\), \(2, 6\)"):
        to_sparse_runtime(nested(rng), lengths)


@pytest.mark.parametrize("verbose", [1, "auto", 2])
def test_it_says_what_it_decides(rng, clock, capsys, verbose):
    clock(2.0)
    to_sparse_runtime(mlp(rng), np.ones((3, 20), "float32"))
    assert capsys.readouterr().out == ""
    to_sparse_runtime(mlp(rng), np.ones((3, 20), "float32"), verbose=verbose)
    assert capsys.readouterr().out.splitlines() == [
        "first: csr, faster",
        "second: csr, faster",
        "total: csr, faster",
    ]


def test_with_the_real_clock(rng):
    model, x = mlp(rng), rng.normal(size=(3, 20)).astype("float32")
    runtime, report = to_sparse_runtime(model, x, batch_sizes=(1, 3), repeats=5, seconds=0.0)
    check_same_outputs(runtime, model, x)
    measured = report.filter(like="ms_")
    assert measured.shape == (2, 4)
    assert (measured > 0).all(axis=None)
