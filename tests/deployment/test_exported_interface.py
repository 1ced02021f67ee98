"""What a file takes and returns: inference mode, names, sizes, dtypes, whichever backend writes."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import export, latency
from keras_sac._run._engines import opened
from keras_sac.deployment import ExportError, _verification
from tests.cuda_tensors import CudaTensor
from tests.deployment.test_export import PATHS
from tests.model.test_drawn_inputs import Positions

BACKEND = keras.backend.backend()
# Written on this backend, not in another process.
HERE = {
    "tensorflow": ("tf_saved_model", "litert", "openvino", "onnx"),
    "torch": ("onnx", "openvino", "torch"),
    "jax": (),
}[BACKEND]


def forms(*wanted):
    return [pytest.param(each, marks=[] if each in HERE else [pytest.mark.slow]) for each in wanted]


@pytest.mark.parametrize("form", forms(*PATHS))
def test_augmentation_is_not_in_the_file(form, tmp_path, rng):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(0.2),
            layers.Flatten(),
            layers.GaussianDropout(0.5),
            layers.Dense(2),
        ]
    )
    record = export(model, tmp_path / PATHS[form], verbose=0)
    assert record.format == form
    x = rng.normal(size=(4, 6, 6, 3)).astype("float32")
    found = opened(record)(x)[0]
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)


def interface(path, form):
    """Names and sizes of inputs and outputs, read by the library of the format."""
    if form == "openvino":
        import openvino

        model = openvino.Core().read_model(path)
        return [
            {each.any_name: str(each.partial_shape) for each in side}
            for side in (model.inputs, model.outputs)
        ]
    import onnx

    graph = onnx.load(path).graph
    return [
        {
            each.name: "[{}]".format(
                ",".join(str(d.dim_value or "?") for d in each.type.tensor_type.shape.dim)
            )
            for each in side
        }
        for side in (graph.input, graph.output)
    ]


@pytest.mark.parametrize("form", forms("onnx", "openvino"))
def test_names_and_sizes_are_those_of_the_model(form, tmp_path):
    a, b = keras.Input((16,), name="features"), keras.Input((None, 3), name="history")
    mean = layers.GlobalAveragePooling1D()(b)
    outputs = {"scores": layers.Dense(4)(a), "next": layers.Dense(2)(mean), "copy": a}
    model = keras.Model({"features": a, "history": b}, outputs)
    record = export(model, tmp_path / PATHS[form], verbose=0)
    inputs, found = interface(str(record.path), form)
    assert inputs == {"features": "[?,16]", "history": "[?,?,3]"}
    assert (found["scores"], found["next"]) == ("[?,4]", "[?,2]")
    assert len(found) == 3


@pytest.mark.parametrize("form", forms("onnx", "openvino"))
def test_a_model_without_names_gives_the_same_ones_each_time(form, tmp_path):
    for i in range(2):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="scores")])
        path = tmp_path / f"{i}{PATHS[form]}"
        export(model, path, verify=False, verbose=0)
        assert interface(path, form) == [{"input": "[?,3]"}, {"scores": "[?,2]"}]


@pytest.mark.parametrize("form", forms("litert"))
def test_outputs_of_one_shape_are_told_apart_by_name(form, tmp_path):
    # In the order of the model, of the names, and of their lengths: three different ones.
    inputs = keras.Input((4,))
    outputs = {name: layers.Dense(4)(inputs) for name in ("mean", "logvar", "z")}
    record = export(keras.Model(inputs, outputs), tmp_path / "m.tflite", verbose=0)
    assert record.largest_difference < 1e-5


@pytest.mark.parametrize("form", forms("tf_saved_model", "litert", "onnx"))
def test_layers_with_any_name(form, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(8, name="hidden layer [1]"),
            layers.Dense(3, name="größe"),
        ],
        name="my model",
    )
    record = export(model, tmp_path / PATHS[form], verbose=0)
    assert record.largest_difference < 1e-5
    assert [each.name for each in (model, *model.layers)] == [
        "my model",
        "hidden layer [1]",
        "größe",
    ]
    assert model.weights[2].path == "my model/größe/kernel"


@pytest.mark.parametrize("form", forms("onnx", "torch", "litert"))
def test_samples_are_cast_as_predict_casts_them(form, tmp_path, rng):
    number = keras.Sequential([keras.Input((16,)), layers.Dense(8)])
    word = keras.Sequential(
        [keras.Input((12,), dtype="int32"), layers.Embedding(100, 8), layers.Flatten()]
    )
    for model, sample in (
        (number, rng.normal(size=(8, 16))),
        (number, CudaTensor(rng.normal(size=(8, 16)).astype("float32"))),
        (word, rng.integers(0, 100, (8, 12))),
    ):
        record = export(model, tmp_path / PATHS[form], sample=sample, overwrite=True, verbose=0)
        assert record.largest_difference < 1e-5
        assert latency(record, sample, batch_sizes=[2], repeats=1)["repeats"].tolist() == [1]


@pytest.mark.parametrize("form", forms("onnx", "torch", "openvino"))
def test_a_model_is_traced_with_the_sample(form, tmp_path, rng):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, layers.Dense(2)(Positions()(inputs)))
    options = {"custom_objects_module": "tests.model.test_drawn_inputs", "verbose": 0}
    sample = rng.normal(size=(3, 8, 4))
    for given in (None, sample):
        record = export(model, tmp_path / PATHS[form], sample=given, overwrite=True, **options)
        assert record.largest_difference < 1e-4
    found = opened(record)(sample[:2, :5].astype("float32"))[0]
    np.testing.assert_allclose(found, model.predict(sample[:2, :5], verbose=0), atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="the tracers are torch's")
def test_transformers_need_no_tensorflow(tmp_path, monkeypatch):
    inputs = keras.Input((None, 8))
    hidden = layers.RMSNormalization()(layers.LayerNormalization()(inputs))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4)(hidden, hidden))
    find = importlib_find()
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "tensorflow" else find(name)
    )
    record = export(model, tmp_path / "m.onnx", verbose=0)
    assert record.backend == "torch"
    assert all(each.value.requires_grad for each in model.trainable_variables)


def importlib_find():
    import importlib.util

    return importlib.util.find_spec


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the converter is TensorFlow's")
def test_constants_of_a_layer_are_in_the_file(tmp_path, rng, monkeypatch):
    model = keras.Sequential([keras.Input((4,)), layers.Normalization(), layers.Dense(3)])
    model.layers[0].adapt(rng.normal(3, 2, size=(100, 4)).astype("float32"))
    record = export(model, tmp_path / "m.onnx", verbose=0)
    assert record.backend == "tensorflow"
    assert keras.ops.is_tensor(model.layers[0].mean)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has tensors of texts")
def test_texts(tmp_path):
    words = layers.StringLookup(vocabulary=["a", "b", "c"])
    model = keras.Sequential(
        [keras.Input((2,), dtype="string"), words, layers.Embedding(4, 3), layers.Flatten()]
    )
    sample = np.array([["a", "z"], ["b", "c"]], dtype=object)
    for given in (None, sample, keras.ops.convert_to_tensor(sample)):
        record = export(model, tmp_path / "m", sample=given, overwrite=True, verbose=0)
        assert record.largest_difference == 0.0
    assert latency(record, sample, batch_sizes=[3], repeats=1)["engine"].tolist() == ["tensorflow"]
    with pytest.raises(ExportError, match="cannot write the table of string_lookup"):
        export(model, tmp_path / "m.onnx", sample=sample, verbose=0)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX writes no format itself")
def test_outputs_that_a_converter_adds_do_not_count(rng):
    batch = _verification.Batch(np.ones((2, 3)), [np.ones((2, 1)), np.zeros((2, 1))], 1.0)
    signature = _verification.Signature(None, None, ["x"], ["a", "b"], [None, None])
    made = [np.full((2, 1), 7.0), np.zeros((2, 1)), np.ones((2, 1))]
    found = _verification.FileOutputs([made], ["assert", "b", "a"], [])
    named = _verification._by_name(made, found, signature)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    assert _verification._difference(model, batch, named) == 0.0
    unnamed = _verification.FileOutputs([made[:0:-1] + made[:1]], [], [])
    assert len(_verification._by_name(unnamed.outputs[0], unnamed, signature)) == 2
