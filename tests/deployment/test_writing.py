"""Where a file is written, which way is tried next, and what a failure says."""

import concurrent.futures
import threading

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import export, prune_to_sparsity, to_sparse_runtime
from keras_sac.deployment import Exported, ExportError, Format, _export, _write_format
from keras_sac.deployment._formats import format_of, register_format, ways
from tests.children import python
from tests.deployment.own_layers import Doubled

BACKEND = keras.backend.backend()


def model():
    return keras.Sequential([keras.Input((6,)), layers.Dense(3)])


@pytest.mark.backend_free
def test_the_ending_tells_the_format():
    for path, name in (
        ("folder", "tf_saved_model"),
        ("m.onnx", "onnx"),
        ("m.tflite", "litert"),
        ("m.xml", "openvino"),
        ("m.pt2", "torch"),
    ):
        assert format_of(path, None) == name
        assert format_of(path, name) == name
    assert format_of("m.tflite", "tflite") == "litert"
    # A folder may have a dot in its name.
    assert format_of("model.v2", "tf_saved_model") == "tf_saved_model"


@pytest.mark.parametrize(
    ("path", "format", "message"),
    [
        ("m.h5", None, r"cannot be inferred from the ending '.h5'.*'.onnx' \(onnx\)"),
        ("m.onnx", "tf_saved_model", "be a folder without that ending"),
        ("m.onnx", "tflite", "must end with '.tflite' for format='tflite'.*path='m.onnx'"),
        ("m", "onnx", "must end with '.onnx'"),
        ("m.onnx", "hdf5", "must be one of 'tf_saved_model', 'onnx'.*Received: format='hdf5'"),
    ],
)
@pytest.mark.backend_free
def test_contradictions(path, format, message):
    with pytest.raises(ValueError, match=message):
        format_of(path, format)


@pytest.mark.backend_free
def test_the_representation_is_one_line():
    import pandas as pd

    table = pd.DataFrame({"merged": [True, False, True]})
    record = Exported("m.onnx", "onnx", "torch", 4096, table, 1000, 800, 1e-7)
    assert "\n" not in repr(record)
    assert "m.onnx" in repr(record)
    assert "2 of 3 SAC layers merged" in str(record)


def test_each_reason_is_in_the_error(tmp_path, monkeypatch):
    asked = []

    def failing(way, *rest):
        asked.append(way)
        raise ExportError(f"reason {len(asked)}.")

    monkeypatch.setattr(_export, "write_on", failing)
    monkeypatch.setattr(_export, "ways", lambda name: ways("onnx"))
    with pytest.raises(ExportError) as caught:
        export(model(), tmp_path / "m.onnx", verbose=0)
    assert str(caught.value).splitlines() == [f"reason {i + 1}." for i in range(len(asked))]
    assert len(asked) == 3
    # The active backend comes first; torch has two ways.
    assert BACKEND == "jax" or asked[0].backend == BACKEND
    assert sorted(way.backend for way in asked) == ["tensorflow", "torch", "torch"]


class Unsaved(keras.Model):
    """It cannot be saved: no process on another backend can load it."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(units)
        self.function = lambda x: x

    def call(self, inputs):
        return self.function(self.hidden(inputs))

    def get_config(self):
        raise NotImplementedError("no configuration")


@pytest.mark.parametrize("name", ["m.pt2" if BACKEND == "tensorflow" else "m"])
def test_a_model_that_cannot_be_saved(name, tmp_path):
    made = Unsaved(2)
    made(np.ones((2, 3), "float32"))
    with pytest.raises(ExportError, match="(?s)cannot be saved.*no configuration.*Unsaved"):
        export(made, tmp_path / name, verbose=0)


def test_bfloat16_has_advice(tmp_path, monkeypatch):
    def failing(way, *rest):
        raise ExportError("no such operation.")

    monkeypatch.setattr(_export, "write_on", failing)
    made = keras.Sequential([keras.Input((6,)), layers.Dense(3, dtype="bfloat16")])
    with pytest.raises(ExportError, match="(?s)no such operation.*dtype policy 'float32'"):
        export(made, tmp_path / "m.onnx", verbose=0)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX writes no format itself")
def test_beside_a_gpu_classes_of_a_script_are_written_here(tmp_path, monkeypatch):
    monkeypatch.setattr(_write_format, "accelerator_name", lambda: "Some GPU")
    hidden = type("Hidden", (Doubled,), {"__module__": "__main__"})
    made = keras.Sequential([keras.Input((4,)), layers.Dense(3), hidden()])
    path = "m.onnx" if BACKEND == "torch" else "m"
    record = export(made, tmp_path / path, verbose=0)
    assert record.backend == BACKEND
    assert record.largest_difference < 1e-5


def test_an_error_names_the_open_axis(tmp_path, monkeypatch):
    from keras_sac._run import ChildError
    from keras_sac.deployment import _verification

    def failing(*rest):
        raise ChildError("Fail", "The input tensor cannot be reshaped to the requested shape")

    monkeypatch.setattr(_verification, "outputs_of_file", failing)
    monkeypatch.setattr(_export, "write_on", lambda *rest: None)
    inputs = keras.Input((None, 3), name="steps")
    with pytest.raises(ExportError, match=r"(?s)cannot be resh.*axis 1 of the input 'steps'"):
        export(keras.Model(inputs, layers.Dense(2)(inputs)), tmp_path / "m.onnx", verbose=0)
    with pytest.raises(ExportError) as caught:
        export(model(), tmp_path / "m.onnx", verbose=0)
    assert "axis" not in str(caught.value)


MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np
from keras_sac import export
copy = tf.distribute.ReductionToOneDevice()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=copy)
with strategy.scope():
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(4)])
    model.compile("adam", "mse")
x = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
model.fit(x, x[:, :4], verbose=0)
print(export(model, sys.argv[1], verbose=0).largest_difference < 1e-5)
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf2onnx writes the models of TensorFlow")
def test_constant_tensors_between_layers_are_no_inputs_of_an_onnx_file(tmp_path):
    inputs = keras.Input((6,))
    scaled = inputs * keras.ops.sqrt(keras.ops.convert_to_tensor(16.0))
    scaling = keras.Model(inputs, layers.Dense(4)(scaled))
    record = export(scaling, tmp_path / "m.onnx", verbose=0)
    assert record.backend == "tensorflow"


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="replicas of TensorFlow")
def test_a_model_of_two_replicas(tmp_path):
    assert python("-c", MIRRORED, tmp_path / "m").splitlines()[-1] == "True"


def test_a_process_sees_no_gpu(tmp_path, monkeypatch):
    from keras_sac._run import _engine_process

    seen = {}

    def run(task, **variables):
        seen.update(variables)
        raise _export.ExportError("enough")

    monkeypatch.setattr(_engine_process, "run", run)
    with pytest.raises(ExportError, match="enough"):
        _engine_process.outputs_of_file("m.onnx", [np.ones((1, 2))], [])
    assert seen["CUDA_VISIBLE_DEVICES"] == ""


class Slow(Format):
    """Notices whether two threads write at the same time."""

    inside = 0
    most = 0

    def write(self, model, path, signature):
        Slow.inside += 1
        Slow.most = max(Slow.most, Slow.inside)
        threading.Event().wait(0.05)
        Slow.inside -= 1
        with open(path, "w") as file:
            file.write("done")


def in_threads(count, work):
    """Call `work` with each number in a thread of its own, and raise its errors."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, i) for i in range(count)]:
            done.result()


def test_threads_write_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_sac.deployment._formats.FORMATS", dict(_export.FORMATS))
    for module in (_export, _write_format):
        monkeypatch.setattr(module, "FORMATS", dict(_export.FORMATS))
    from keras_sac.deployment import _formats

    register_format(Slow("slow", ".slow", {BACKEND: "keras"}))
    for module in (_export, _write_format):
        monkeypatch.setattr(module, "FORMATS", _formats.FORMATS)
    monkeypatch.setattr(_write_format, "accelerator_name", lambda: None)
    made = model()
    in_threads(3, lambda i: export(made, tmp_path / f"{i}.slow", verify=False, verbose=0))
    assert Slow.most == 1
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "torch", reason="only torch writes `.pt2`")
def test_programs_of_two_threads(tmp_path):
    made = [model(), model()]
    in_threads(2, lambda i: export(made[i], tmp_path / f"{i}.pt2", verbose=0))


def test_a_state_between_calls_is_refused(tmp_path):
    made = keras.Sequential(
        [keras.Input(batch_shape=(4, 6, 3)), layers.LSTM(8, stateful=True, name="memory")]
    )
    with pytest.raises(ValueError, match="'memory' with `stateful=True`.*`return_state=True`"):
        export(made, tmp_path / "m.onnx")


def test_a_runtime_model_is_refused(tmp_path, monkeypatch):
    made = keras.Sequential([keras.Input((64,)), layers.Dense(32), layers.Dense(2)])
    prune_to_sparsity(made, 0.95)
    layer = type("Sparse", (layers.Dense,), {"__module__": "keras_sac.sparse_runtime._sparse"})
    assert to_sparse_runtime.__module__.startswith("keras_sac.sparse_runtime")
    sparse = keras.Sequential([keras.Input((64,)), layer(2, name="thin")])
    with pytest.raises(ValueError, match="'thin'.*made by `to_sparse_runtime`. Export the orig"):
        export(sparse, tmp_path / "m.onnx")


class Sequential:
    """A model of Keras 2, by the name of its module."""


Sequential.__module__ = "tf_keras.src.engine.sequential"


def test_a_model_of_keras_2(tmp_path):
    from keras_sac import ConstantSparsity, PruningOptimizer, footprint, latency, merge_sac

    schedule = ConstantSparsity(0.5, begin_step=1)
    for call in (
        *(latency, footprint, merge_sac),
        lambda m: export(m, tmp_path / "m.onnx"),
        lambda m: PruningOptimizer(m, schedule),
    ):
        with pytest.raises(ValueError, match="of tf_keras, which is Keras 2.*TF_USE_LEGACY_KERAS"):
            call(Sequential())
