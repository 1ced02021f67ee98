"""`export`: each format in its own program, verification, and bad input."""

import json
import os

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import (
    ConstantSparsity,
    PruningOptimizer,
    SACDense,
    export,
    prune_to_sparsity,
    sparsity,
)
from keras_sac.deployment import ExportError, _export
from keras_sac.deployment._formats import ways
from tests.children import python
from tests.deployment import exported_models as models
from tests.deployment.own_layers import Doubled

PATHS = {
    "tf_saved_model": "folder",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "openvino": "model.xml",
    "torch": "model.pt2",
}
FORMS, MODELS = models.WRITTEN_HERE[keras.backend.backend()]
# Loads a file with the library of its format, and nothing else.
READER = """
import json, sys
sys.modules["keras_sac"] = sys.modules["keras"] = None
import numpy as np
path, form, folder = sys.argv[1:]
x = np.load(folder + "/x.npy")
if form == "tf_saved_model":
    sys.modules.pop("keras")
    import tensorflow as tf
    model = tf.saved_model.load(path)
    y, weights = model.serve(x).numpy(), [v.numpy() for v in model.variables]
elif form == "onnx":
    import onnx, onnxruntime
    session = onnxruntime.InferenceSession(path)
    y = session.run(None, {session.get_inputs()[0].name: x})[0]
    weights = [onnx.numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer]
elif form == "litert":
    from ai_edge_litert.interpreter import Interpreter
    model = Interpreter(path)
    weights = []
    for each in model.get_tensor_details():
        try:
            weights.append(model.get_tensor(each["index"]))
        except ValueError:
            pass
    entry = model.get_input_details()[0]["index"]
    model.resize_tensor_input(entry, x.shape)
    model.allocate_tensors()
    model.set_tensor(entry, x)
    model.invoke()
    y = model.get_tensor(model.get_output_details()[0]["index"])
elif form == "openvino":
    import openvino
    model = openvino.Core().read_model(path)
    weights = [o.data for o in model.get_ops() if o.get_type_name() == "Constant"]
    y = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
else:
    import torch
    program = torch.export.load(path)
    weights = [each.detach().numpy() for each in program.state_dict.values()]
    y = program.module()(torch.tensor(x)).detach().numpy()
np.save(folder + "/y.npy", y)
zeros = {str(w.size): int(np.sum(w == 0)) for w in weights if w.size > 50}
print(json.dumps({"zeros": zeros, "loaded": "keras_sac" in str(sys.modules["keras_sac"])}))
"""


def read(path, form, x, folder):
    np.save(folder / "x.npy", x)
    printed = python("-c", READER, path, form, folder, TF_CPP_MIN_LOG_LEVEL="3")
    return np.load(folder / "y.npy"), json.loads(printed.splitlines()[-1])["zeros"]


# Formats of another backend are slow: a second process loads that backend.
@pytest.mark.parametrize(
    "form", [f if f in FORMS else pytest.param(f, marks=pytest.mark.slow) for f in PATHS]
)
def test_a_pruned_model_in_a_program_of_its_own(form, tmp_path, rng, capsys):
    model = models.image_classifier()
    model.compile(PruningOptimizer("sgd", ConstantSparsity(0.8, 0)), "mse")
    x = rng.normal(size=(5, 8, 8, 3)).astype("float32")
    expected = model.predict(x, verbose=0)
    before = [w.copy() for w in model.get_weights()]
    record = export(model, tmp_path / PATHS[form], form, verify=False)
    made, zeros = read(tmp_path / PATHS[form], form, x, tmp_path)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    # By their sizes: convolution, pointwise kernel, learner, head.
    for size, fraction in ((162, 0.8), (48, None), (140, 0.8), (100, 0.8)):
        if fraction:
            assert zeros[str(size)] == round(fraction * size), size
    table = sparsity(model).set_index("path")
    assert record.zeros == table.attrs["total"]["zeros"]
    assert str(tmp_path / PATHS[form]) in capsys.readouterr().out
    for mine, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    assert model.compiled
    assert sorted(os.listdir(tmp_path)) == sorted(
        [PATHS[form], "x.npy", "y.npy"] + ["model.bin"] * (form == "openvino")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "form"),
    [
        pytest.param(make, form, id=f"{make.__name__}-{form}")
        for make in MODELS
        for form in FORMS
        if not (form == "litert" and make in models.NOT_IN_LITERT)
    ],
)
def test_all_kinds_of_models(make, form, tmp_path):
    record = export(
        make(),
        tmp_path / PATHS[form],
        form,
        custom_objects_module="tests.deployment.exported_models",
        verbose=0,
    )
    tolerance = 1e-2 if make is models.half_precision else 1e-5
    assert record.largest_difference <= tolerance
    assert record.bytes > 4 * record.weights
    assert os.fspath(record) == str(tmp_path / PATHS[form])


@pytest.mark.slow
@pytest.mark.parametrize("make", models.NOT_IN_LITERT)
def test_what_litert_has_no_operations_for(make, tmp_path):
    with pytest.raises(ExportError, match="(?s)Flex delegate.*work with `unroll=True`"):
        export(make(), tmp_path / "m.tflite", "litert")
    assert os.listdir(tmp_path) == []


def subspace(rank):
    return keras.Sequential([keras.Input((12,)), SACDense(8, "random", rank=rank, name="sac")])


@pytest.mark.parametrize(
    ("rank", "merge", "merged"),
    [(3, "cheaper", False), (7, "cheaper", True), (3, "always", True), (7, "never", False)],
)
def test_merging(rank, merge, merged, tmp_path):
    # 3 (12 + 8) = 60 < 96 < 140 = 7 (12 + 8)
    model = subspace(rank)
    record = export(model, tmp_path / "m.xml", "openvino", merge=merge, verbose=0)
    assert record.merged["merged"].tolist() == [merged]
    assert record.weights == (96 if merged else rank * 20)
    assert f"{int(merged)} of 1 SAC layers merged" in str(record)


class Other:
    """Writes a model that is not the one that was given."""

    def __init__(self, change):
        self.change, self.write = change, _export.write_on

    def __call__(self, way, model, path, *rest):
        kernel = model.weights[0]
        values = keras.ops.convert_to_numpy(kernel).copy()
        kernel.assign(self.change(values))
        self.write(way, model, path, *rest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda kernel: kernel + 1e-3 * (kernel != 0), "outputs differ from the model's by"),
        (
            lambda kernel: kernel + 1e-9 * (kernel == 0),
            "48 zeros of the kernels are not zero",
        ),
    ],
)
def test_a_wrong_file_is_not_kept(change, message, tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((10,)), layers.Dense(6)])
    prune_to_sparsity(model, 0.8)
    (tmp_path / "m.xml").write_text("old")
    monkeypatch.setattr(_export, "write_on", Other(change))
    monkeypatch.setattr(_export, "ways", lambda form: ways(form)[:1])
    # `Other` changes the model before the zeros are counted, so they are counted here.
    counts = _export.kernel_counts(model)
    monkeypatch.setattr("keras_sac.deployment._verification.kernel_counts", lambda plain: counts)
    with pytest.raises(ExportError, match=message):
        export(model, tmp_path / "m.xml", "openvino", overwrite=True, verbose=0)
    assert os.listdir(tmp_path) == ["m.xml"]
    assert (tmp_path / "m.xml").read_text() == "old"


@pytest.mark.slow
def test_where_one_backend_fails_another_tries(tmp_path, monkeypatch, capsys):
    first, second = (way.backend for way in ways("openvino"))
    write = _export.write_on

    def failing(way, model, path, *rest):
        if way.backend == first:
            with open(path, "w") as file:
                file.write("half")
            raise ExportError("The converter has no such operation.")
        write(way, model, path, *rest)

    monkeypatch.setattr(_export, "write_on", failing)
    record = export(subspace(3), tmp_path / "m.xml", "openvino")
    assert record.backend == second
    assert f"no such operation. Trying {second}." in capsys.readouterr().out


@pytest.mark.slow
def test_layers_that_the_other_process_does_not_find(tmp_path):
    form = "torch" if keras.backend.backend() == "tensorflow" else "litert"
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), Doubled()])
    path = tmp_path / PATHS[form]
    hidden = type("Hidden", (Doubled,), {"__module__": "__main__"})
    lost = keras.Sequential([keras.Input((4,)), layers.Dense(3), hidden()])
    with pytest.raises(
        ExportError, match=r"(?s)__main__.Hidden.*custom_objects_module='my_layers'"
    ):
        export(lost, path, form, verbose=0)
    assert os.listdir(tmp_path) == []
    record = export(
        model, path, form, custom_objects_module="tests.deployment.own_layers", verbose=0
    )
    assert record.largest_difference < 1e-5


class Unknown(keras.Model):
    pass


@pytest.mark.parametrize(
    ("make", "name", "options", "error", "message"),
    [
        (lambda: subspace(3), "m.h5", {"format": "hdf5"}, ValueError, "must be one of 'tf_saved"),
        (lambda: subspace(3), "m.bin", {"format": "onnx"}, ValueError, "must end with '.onnx'"),
        (lambda: subspace(3), "m.bin", {}, ValueError, "cannot be inferred from the ending '.bin'"),
        (
            lambda: subspace(3),
            "m.onnx",
            {"format": "tf_saved_model"},
            ValueError,
            "must be a folder without that ending",
        ),
        (lambda: subspace(3), "m.onnx", {"format": "tflite"}, ValueError, "end with '.tflite'"),
        (
            lambda: subspace(3),
            "m",
            {"sample": [np.zeros((2, 12)), np.zeros((2, 12))]},
            ValueError,
            "`sample` must have the shape",
        ),
        (lambda: subspace(3), "old", {}, FileExistsError, "overwrite=True"),
        (lambda: subspace(3), "no/m", {}, FileNotFoundError, "folder to write into"),
        (lambda: subspace(3), "m", {"merge": "maybe"}, ValueError, "'always', 'cheaper', 'never'"),
        (lambda: subspace(3), "m", {"merge": True}, ValueError, "Received: merge=True"),
        (
            lambda: subspace(3),
            "m",
            {"verbose": 3},
            ValueError,
            "`verbose` must be one of",
        ),
        (Unknown, "m", {}, ValueError, "has no weights yet. Call it on a batch"),
        (lambda: "model.keras", "m", {}, ValueError, "Expected a `keras.Model`. Received: str"),
        (
            lambda: models.subclassed(SACDense(2, "random", rank=4)),
            "m",
            {"merge": "always"},
            ValueError,
            "Functional or Sequential",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((3, 4)), layers.TimeDistributed(SACDense(2, "random", rank=4))]
            ),
            "m",
            {"merge": "always"},
            ValueError,
            "(?s)inside a composite layer.*Received: merge='always'",
        ),
    ],
)
def test_bad_input(make, name, options, error, message, tmp_path):
    (tmp_path / "old").write_text("old")
    with pytest.raises(error, match=message):
        export(make(), tmp_path / name, **options)
    assert os.listdir(tmp_path) == ["old"]


def test_a_backend_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install tensorflow"):
        export(subspace(3), tmp_path / "m")
    with pytest.raises(ImportError, match="by torch with onnx or by tensorflow with tf2onnx"):
        export(subspace(3), tmp_path / "m.onnx")
