"""`latency`: engines, number of calls, columns of the table, invalid arguments."""

import os

import keras
import numpy as np
import pytest

from keras_sac import export, latency
from keras_sac._model._sample_inputs import batch_of, noise
from keras_sac._run import _clock
from keras_sac._run._engines import engine_of, flat
from tests.cuda_tensors import CudaTensor


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])


def test_each_batch_size_in_a_row(model):
    found = latency(model, batch_sizes=[2, 5], repeats=7, warm_up=1)
    assert found["batch_size"].tolist() == [2, 5]
    assert found["repeats"].tolist() == [7, 7]
    assert set(found["engine"]) == {f"keras ({keras.backend.backend()})"}
    for row in found.itertuples():
        assert 0 < row.min_ms <= row.q25_ms <= row.median_ms <= row.q75_ms
    assert (found["threads"] >= 1).all()
    assert found["device"][0]


def test_what_the_model_is_given(model, monkeypatch):
    seen = []
    monkeypatch.setattr(model, "predict_on_batch", lambda batch: seen.append(batch))
    sample = np.arange(18.0, dtype="float32").reshape(3, 6)
    latency(model, sample, batch_sizes=[2, 7], repeats=3, warm_up=2)
    assert [len(batch) for batch in seen] == [2] * 5 + [7] * 5
    np.testing.assert_array_equal(seen[-1], sample[[0, 1, 2, 0, 1, 2, 0]])


def test_time_ends_it_but_for_five_calls(model, monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 0.25))
    monkeypatch.setattr(_clock.time, "perf_counter", lambda: next(clock))
    # Each call takes a quarter of a second, and so do the questions between them.
    found = latency(model, batch_sizes=[1], seconds=0.5, repeats=50)
    assert found["repeats"].tolist() == [5]
    assert found["median_ms"].tolist() == [250.0]
    # Five calls end after 2.5 s; then each takes a question more.
    found = latency(model, batch_sizes=[1], seconds=6.0, repeats=50)
    assert found["repeats"].tolist() == [10]


def test_a_file_in_its_engines(model, tmp_path, rng):
    path = export(model, tmp_path / "m.onnx", "onnx", verbose=False)
    x = rng.normal(size=(4, 6)).astype("float32")
    found = latency(path, x, batch_sizes=[1, 3], repeats=5, threads=1)
    assert found["engine"].tolist() == ["onnxruntime"] * 2
    assert found["threads"].tolist() == [1, 1]
    other = latency(os.fspath(path), x, batch_sizes=[2], engine="openvino", repeats=5)
    assert other["engine"].tolist() == ["openvino"]


def test_the_state_of_a_model_is_kept(rng):
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 5, 3)), keras.layers.LSTM(4, stateful=True)]
    )
    x = rng.normal(size=(2, 5, 3))
    model.predict(x, batch_size=2, verbose=0)
    before = [keras.ops.convert_to_numpy(each).copy() for each in model.layers[0].states]
    # Keras on JAX does not move the state on in `predict`.
    assert all(each.any() for each in before) or keras.backend.backend() == "jax"
    latency(model, CudaTensor(x.astype("float32")), batch_sizes=[2], repeats=2)
    for state, old in zip(model.layers[0].states, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(state), old)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": [0]}, "`batch_sizes` must be an integer >= 1"),
        ({"repeats": 0}, "`repeats` must be an integer >= 1"),
        ({"seconds": -1}, "`seconds` must be a number >= 0"),
        ({"engine": "onnxruntime"}, "export the model first"),
        ({"threads": 0}, "`threads` must be an integer >= 1"),
        ({"sample": np.zeros((0, 6))}, "at least one sample"),
    ],
)
def test_bad_input(model, options, message):
    with pytest.raises(ValueError, match=message):
        latency(model, **options)


def test_bad_files(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    (tmp_path / "m.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="`sample` must be inputs.*Received: sample=None"):
        latency(tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="No engine reads .*m.h5"):
        latency(tmp_path / "m.h5", np.zeros((1, 2)))
    with pytest.raises(ValueError, match="read by onnxruntime, openvino. Received: engine='torch'"):
        latency(tmp_path / "m.onnx", np.zeros((1, 2)), engine="torch")


def test_threads(model):
    if keras.backend.backend() == "torch":
        import torch

        before = torch.get_num_threads()
        try:
            assert latency(model, repeats=5, threads=1)["threads"].tolist() == [1, 1]
        finally:
            torch.set_num_threads(before)
    else:
        with pytest.raises(ValueError, match="fixes the number of threads"):
            latency(model, threads=1)


def test_engines_of_paths(tmp_path):
    assert engine_of(tmp_path) == "tensorflow"
    assert engine_of("m.tflite") == "litert"
    assert engine_of("m.pt2", "torch") == "torch"
    assert flat({"b": 1, "a": [2, (3, 4)]}) == [2, 3, 4, 1]


def test_noise_is_what_the_model_takes():
    inputs = {
        "ids": keras.Input((None,), dtype="int32", name="ids"),
        "x": keras.Input((4, 3), name="x"),
    }
    hidden = keras.layers.Embedding(2, 3)(inputs["ids"])
    outputs = keras.layers.Concatenate(axis=1)([hidden, inputs["x"]])
    model = keras.Model(inputs, outputs)
    made = noise(model, 5, unknown=7)
    assert {name: each.shape for name, each in made.items()} == {"ids": (5, 7), "x": (5, 4, 3)}
    assert set(np.unique(made["ids"])) == {0, 1}
    assert made["x"].dtype == "float32"
    np.testing.assert_array_equal(noise(model, 5, unknown=7)["x"], made["x"])
    assert np.asarray(model.predict_on_batch(made)).shape == (5, 11, 3)
    with pytest.raises(ValueError, match=r"'ids' has the shape \(None, None\).*Pass `sample=`"):
        noise(model, 5)


class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layer = keras.layers.Dense(2)

    def call(self, inputs):
        return self.layer(inputs)


def test_noise_of_a_subclassed_model():
    model = Own()
    model(np.zeros((3, 4), "float32"))
    assert noise(model, 6).shape == (6, 4)
    fixed = keras.Sequential([keras.Input(batch_shape=(2, 4)), keras.layers.Dense(3)])
    assert noise(fixed, 6).shape == (2, 4)
    unknown = Own()
    unknown.built = True
    with pytest.raises(ValueError, match="is not known. Pass `sample=`"):
        noise(unknown, 6)


class Halved(keras.layers.Layer):
    """Says nothing of its output, so that `TimeDistributed` cannot either."""

    def call(self, inputs):
        return inputs / 2


def test_noise_of_a_sequential_model_without_a_graph():
    model = keras.Sequential([keras.layers.Dense(3), keras.layers.TimeDistributed(Halved())])
    model.build((None, 5, 4))
    assert getattr(model, "inputs", None) is None
    assert noise(model, 2).shape == (2, 5, 4)


def test_a_batch_of_a_structure():
    sample = {"a": np.arange(3), "b": [np.arange(2)]}
    made = batch_of(sample, 4)
    np.testing.assert_array_equal(made["a"], [0, 1, 2, 0])
    np.testing.assert_array_equal(made["b"][0], [0, 1, 0, 1])
