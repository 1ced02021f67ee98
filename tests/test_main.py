"""The command line."""

import inspect
import io
import os
import zipfile

import keras
import numpy as np
import pytest

from keras_sac import SACDense, export, prune_to_sparsity, save_sparse
from keras_sac.__main__ import _parser, main
from tests.marks import slow_on_jax


@pytest.fixture
def model():
    made = keras.Sequential(
        [
            keras.Input((20,)),
            SACDense(16, "random", rank=3, name="thin"),
            keras.layers.Dense(4, name="last"),
        ]
    )
    prune_to_sparsity(made, 0.75)
    return made


def test_inspect(model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    assert main(["inspect", str(tmp_path / "model.keras")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["layer", "type", "parameters"]
    assert [line.split()[0] for line in lines[1:]] == ["thin", "last", "total"]
    assert lines[-1].split()[1] == str(model.count_params())
    assert "sparse_bytes" in lines[0]
    save_sparse(model, tmp_path / "model.sparse")
    assert main(["inspect", "--fast", str(tmp_path / "model.sparse")]) == 0
    fast = capsys.readouterr().out.splitlines()
    assert "sparse_bytes" not in fast[0]
    assert fast[-1].split()[1] == str(model.count_params())


@slow_on_jax
def test_export(model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    source, target = str(tmp_path / "model.keras"), str(tmp_path / "model.xml")
    command = ["export", source, target, "--format", "openvino", "--merge", "always"]
    assert main(command) == 0
    assert "1 of 1 SAC layers merged; outputs within" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["model.bin", "model.keras", "model.xml"]
    assert main(command) == 1
    assert "overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--no-verify"]) == 0
    assert "not verified" in capsys.readouterr().out


def test_classes_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_layers.py").write_text(
        "import keras\n\n\nclass Tripled(keras.layers.Layer):\n"
        "    def call(self, inputs):\n        return 3.0 * inputs\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from my_layers import Tripled

    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Tripled()])
    made(np.zeros((1, 4)))
    made.save("model.keras")
    options = ["--custom-objects-module", "my_layers"]
    assert main(["inspect", "model.keras", *options]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "total"


def test_classes_of_ones_own_without_their_module(tmp_path, capsys):
    layer = type("Halved", (keras.layers.Layer,), {"__module__": "some_module"})
    layer.call = lambda self, inputs: inputs / 2
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), layer()])
    made.save(tmp_path / "model.keras")
    assert main(["inspect", str(tmp_path / "model.keras")]) == 1
    text = capsys.readouterr().err
    assert "Halved" in text
    assert "--custom-objects-module" in text
    assert len(text.strip().splitlines()) == 1


def damaged(name, content):
    """A `.keras` file's bytes, with one kind of damage."""
    if name == "cut":
        return content[: len(content) // 2]
    if name == "flipped":
        return content[:200] + bytes([content[200] ^ 255]) + content[201:]
    if name == "empty":
        return b""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for member in old.namelist():
            if name == "no configuration" and member == "config.json":
                continue
            data = old.read(member)
            if name == "a list" and member == "config.json":
                data = b"[]"
            if name == "short weights" and member.endswith(".h5"):
                data = data[:100]
            new.writestr(member, data)
    return made.getvalue()


@pytest.mark.parametrize(
    "name", ["cut", "flipped", "empty", "no configuration", "a list", "short weights"]
)
def test_a_damaged_file_is_one_line(name, model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(damaged(name, content))
    assert main(["inspect", str(tmp_path / "model.keras")]) == 1
    text = capsys.readouterr().err
    assert "model.keras' cannot be read as a model. It may be damaged" in text
    assert len(text.strip().splitlines()) == 1


@slow_on_jax
def test_the_ending_of_the_path_is_the_format(model, tmp_path, capsys):
    model.save(tmp_path / "model.keras")
    target = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path / "model.keras"), str(target), "--no-verify"]) == 0
    assert "onnx written on" in capsys.readouterr().out
    assert target.is_file()


@pytest.mark.filterwarnings("ignore:The operations of .* are not known")
def test_operations_that_are_not_known(tmp_path, capsys):
    (tmp_path / "mixing.py").write_text(
        "import keras\n\n\nclass Mixing(keras.layers.Layer):\n"
        "    def build(self, shape):\n        self.by = self.add_weight(shape=(shape[-1], 2))\n\n"
        "    def call(self, inputs):\n        return keras.ops.matmul(inputs, self.by)\n"
    )
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        from mixing import Mixing

        made.add(Mixing())
        made.save(tmp_path / "model.keras")
        options = ["--fast", "--custom-objects-module", "mixing"]
        assert main(["inspect", str(tmp_path / "model.keras"), *options]) == 0
    total = capsys.readouterr().out.splitlines()[-1].split()
    assert total[:3] == ["total", "14", "14"]
    assert "<NA>" in total


def test_export_merges_as_the_function_does():
    options = _parser().parse_args(["export", "m.keras", "out"])
    assert options.merge == inspect.signature(export).parameters["merge"].default
    for word in ("always", "cheaper", "never"):
        assert _parser().parse_args(["export", "m", "out", "--merge", word]).merge == word
    with pytest.raises(SystemExit):
        _parser().parse_args(["export", "m.keras", "out", "--merge", "auto"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "missing.keras"], "missing.keras"),
        (["inspect", "missing.sparse"], "missing.sparse"),
        (["inspect", "model.keras", "--custom-objects-module", "no_such"], "no_such"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    text = capsys.readouterr().err
    assert text.startswith("keras_sac: ")
    assert message in text
    assert "Traceback" not in text


def test_an_unknown_command():
    with pytest.raises(SystemExit):
        main(["explain", "model.keras"])
