"""The script in the README of the experiments runs as it stands."""

import pathlib
import re
import sys

import keras
import pandas as pd
import pytest

from harness.command_line import main

pytestmark = pytest.mark.backend_free

README = pathlib.Path(__file__).parents[2] / "experiments" / "README.md"


def test_the_new_experiment(tmp_path, monkeypatch, capsys):
    [script] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "width.py").write_text(script)
    monkeypatch.syspath_prepend(str(tmp_path))
    import width

    monkeypatch.delitem(sys.modules, "width")
    output = tmp_path / "out"
    options = ("--limit", "120", "--epochs", "1", "--seeds", "3", "--output-dir", str(output))
    assert main(width.EXPERIMENT, ["--dataset", "digits", *options]) == 0
    table = pd.read_csv(output / "table.csv").set_index("row")
    assert table["trainable"].to_dict() == {
        "dense": 64 * 512 + 512 + 5130,
        "width-64": 64 * 64 + 64 + 650,
        "width-8": 64 * 8 + 8 + 90,
    }
    assert keras.config.backend() in (output / "table.md").read_text()
    assert {path.suffix for path in output.iterdir()} == {"", ".csv", ".md", ".png"}
    assert main(width.EXPERIMENT, ["--dataset", "mnist", *options]) == 2
    assert "--dataset must be one of cifar10, digits. Received: mnist." in capsys.readouterr().err
