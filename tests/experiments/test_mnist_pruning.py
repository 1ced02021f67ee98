"""The pruning comparison on digits, from its command line to its table."""

import json

import keras
import mnist_pruning
import numpy as np
import pandas as pd
import pytest

from harness import pruning_methods, pruning_network, rows, splits, tfmot_row, training
from harness.command_line import main
from harness.datasets import load
from harness.options import Options
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

TINY = ("--dataset", "digits", "--limit", "120", "--epochs", "2", "--finetune-epochs", "1")
FAST = (*TINY, "--frequency", "1", "--seeds", "3")
RUNS = ("threshold-0.05", "polynomial-80")


def rows_of(*arguments):
    import tyro

    options = tyro.cli(mnist_pruning.PruningOptions, args=arguments)
    return mnist_pruning.make_rows(mnist_pruning.SETUPS[options.dataset].settings(options))


def start(arguments):
    return main(mnist_pruning.EXPERIMENT, arguments)


def test_rows():
    found = {row.name: row for row in rows_of()}
    assert list(found) == [
        *("dense", "dense-tuned", "threshold-0.05", "filters"),
        *("polynomial-80", "polynomial-90", "polynomial-95", "polynomial-98", "polynomial-99"),
        *("polynomial-95-delayed", "polynomial-95-global"),
        *("magnitude-90", "gradient-90", "obd-90", "obs-90", "random-90"),
        *("magnitude-98", "gradient-98", "obd-98", "obs-98", "random-98"),
        *("tfmot-80", "tfmot-95"),
    ]
    assert found["polynomial-80"].settings["frequency"] == 100
    assert found["filters"].settings["tuning"] == {
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "optimizer": "adam",
    }
    assert "threshold-0.1" in [row.name for row in rows_of("--threshold", "0.1")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    arguments = [*FAST, "--output-dir", str(folder), "--runs", "dense", *RUNS]
    assert start(arguments) == 0
    return folder


def test_end_to_end(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("runs", "weights", "table.csv", "table.md", "accuracy_against_sparsity.png"),
        *("schedules.png", "one_shot.png", "learning_curves.png"),
    }
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert list(table.index) == ["dense", *RUNS]
    # 9 * 32 + 32, 9 * 32 * 64 + 64, 2 * 2 * 64 * 128 + 128, 1280 + 10; zeros are counted too.
    assert table["trainable"].tolist() == [320 + 18496 + 32896 + 1290] * 3
    assert table["macs"].iloc[0] == 64 * 288 + 16 * 18432 + 32768 + 1280
    assert table["sparsity_mean"].iloc[2] == pytest.approx(80, abs=0.02)
    assert table["sparsity_mean"].iloc[0] == table["gap_mean"].iloc[0] == 0
    runs = {p.stem: json.loads(p.read_text()) for p in (folder / "runs").iterdir()}
    dense, threshold = runs["dense-seed3"], runs["threshold-0.05-seed3"]
    assert threshold["facts"]["test_accuracy_before"] == dense["result"]["test_accuracy"]
    assert threshold["settings"]["optimizer"] == "adam"
    assert threshold["row_settings"]["threshold"] == 0.05
    assert len(threshold["history"]["loss"]) == 1
    gradual = runs["polynomial-80-seed3"]
    assert max(gradual["history"]["sparsity"]) == gradual["history"]["sparsity"][-1]
    header = (folder / "table.md").read_text().splitlines()[0]
    assert "mnist_pruning.py --dataset digits" in header
    assert str(folder) not in (folder / "table.md").read_text()


def test_skipped_rows_are_reported_with_their_reason(folder, capsys, monkeypatch):
    monkeypatch.setattr(tfmot_row.importlib.util, "find_spec", lambda name: None)
    arguments = [*FAST, "--output-dir", str(folder), "--runs", "tfmot-80", "tfmot-95"]
    assert start(arguments) == 0
    printed = capsys.readouterr().out
    assert "tfmot-80, seed 3: skipped, not installed: tensorflow, tf_keras" in printed
    text = (folder / "table.md").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("| tfmot-95")]
    assert set(line.replace(" ", "").split("|")[2:-1]) == {"0", "—"}
    assert "- tfmot-95: not run, not installed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "obd-7"], "Received: obd-7; expected names among dense, dense-tuned"),
        (["--threshold", "-1"], "must be a number of at least 0. Received: -1.0"),
        (["--filter-thresholds", "1", "nan"], "must be numbers of at least 0. Received: 1.0 nan"),
        (["--finetune-epochs", "0"], "--finetune-epochs must be at least 1. Received: 0"),
        (
            ["--finetune-learning-rate", "0"],
            "--finetune-learning-rate must be a positive number. Received: 0",
        ),
        (["--frequency", "0"], "--frequency must be at least 1. Received: 0"),
        (["--momentum", "0.9"], "the optimizer is adam"),
    ],
)
def test_errors_are_one_line_and_code_2(tmp_path, capsys, arguments, message):
    output = tmp_path / "out"
    assert start(["--dataset", "digits", "--output-dir", str(output), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not output.exists()


@pytest.mark.slow
def test_tfmot_trains_to_the_same_weights():
    split = splits.split(load("digits").limited(200), 3)
    trial = rows.Trial(3, split, rows.Recipe(2, 32, 1e-3, algorithm="adam"))
    models = []
    for build in (pruning_methods.build_gradual, tfmot_row.build_tfmot):

        def keep(trial, build=build):
            plan = build(trial, "same", sparsity=0.9, frequency=3, initial_sparsity=0.5, end=0.8)
            models.append(plan.model)
            return plan

        outcome = training.train_row(rows.Row("row", keep), trial, verbose=0)
        assert outcome["facts"]["sparsity"] == pytest.approx(0.9, abs=1e-3)
    ours, theirs = (model.get_weights() for model in models)
    for own, other in zip(ours, theirs, strict=True):
        # Where two magnitudes are as good as equal, rounding decides which of them stays.
        assert np.mean((own == 0) != (other == 0)) < 1e-3
        np.testing.assert_allclose(np.median(np.abs(own - other)), 0, atol=1e-6)
        assert np.quantile(np.abs(own - other), 0.99) < 1e-4


def test_options_extend_those_of_the_harness():
    assert issubclass(mnist_pruning.PruningOptions, Options)
    assert mnist_pruning.PruningOptions().dataset == "mnist"
    assert pruning_network.layers(10, "valid")[0][1]["kernel_size"] == 3
    assert keras.config.backend() in mnist_pruning.PruningOptions().folder("x").name
