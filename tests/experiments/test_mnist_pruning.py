"""The pruning comparison on digits, from its command line to its table."""

import json
import shutil

import keras
import mnist_pruning
import numpy as np
import pandas as pd
import pytest

from harness import (
    ExperimentError,
    experiment,
    pruning_methods,
    pruning_network,
    rows,
    splits,
    tfmot_row,
    training,
)
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
        (
            ["--frequency", "1000"],
            "pruning would end at step 1000 of a training of 240 steps. Received: --frequency 1000",
        ),
        (
            ["--frequency", "60", "--runs", "polynomial-80", "obd-90"],
            "pruning would end at step 120 of a training of 80 steps",
        ),
        (
            ["--epochs", "1", "--runs", "dense", "polynomial-95-delayed"],
            "pruning would end at step 25 of a training of 20 steps",
        ),
        (["--momentum", "0.9"], "the optimizer is adam"),
    ],
)
def test_errors_are_one_line_and_code_2(refused, arguments, message):
    refused(start, arguments, message)


def test_what_does_not_fit_is_found_before_any_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "train_row", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(tfmot_row, "skip_reason", lambda: None)
    arguments = ["--dataset", "digits", "--runs", "dense", "tfmot-80", "--optimizer", "sgd"]
    assert start([*arguments, "--output-dir", str(tmp_path / "out")]) == 2
    assert "tfmot rows need --optimizer adam. Received: sgd" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert start([*FAST, "--runs", "dense", "--output-dir", str(tmp_path / "file" / "out")]) == 2
    error = capsys.readouterr().err
    assert "Check the folder, or pass another --output-dir." in error
    assert error.count("\n") == 1


def test_rows_that_fit_do_not_depend_on_others(tmp_path, monkeypatch):
    """A row that is not selected, or finished, is not checked."""
    trained = []

    def train(row, *_, **__):
        trained.append(row.name)
        raise ExperimentError("far enough")

    monkeypatch.setattr(experiment, "train_row", train)
    arguments = ["--dataset", "digits", "--frequency", "60", "--output-dir", str(tmp_path)]
    assert start([*arguments, "--runs", "polynomial-80"]) == 2
    assert trained == ["polynomial-80"]


def test_damaged_weights_are_trained_again(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    weights = copy / "weights" / "dense-seed3.npz"
    whole = weights.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    arguments = [*FAST, "--output-dir", str(copy), "--runs"]
    for content, row in ((whole[: len(whole) // 2], "dense-tuned"), (bytes(damaged), "random-90")):
        weights.write_bytes(content)
        assert start([*arguments, row]) == 0
        assert "the dense weights of this seed are damaged in" in capsys.readouterr().out
        # They are stored again, and equal.
        with np.load(weights) as new, np.load(folder / "weights" / "dense-seed3.npz") as old:
            assert set(new.files) == set(old.files)
            np.testing.assert_allclose(new["weight_0"], old["weight_0"], atol=1e-6)
    before, after = (
        json.loads((copy / "runs" / f"{row}-seed3.json").read_text())["facts"]
        for row in ("threshold-0.05", "dense-tuned")
    )
    assert after["test_accuracy_before"] == before["test_accuracy_before"]


@pytest.mark.parametrize(
    ("name", "default", "other"),
    [("floatx", "float32", "bfloat16"), ("epsilon", 1e-7, 1e-5), ("max_epochs", None, 7)],
)
def test_runs_of_another_configuration_of_keras_are_not_mixed(
    folder, capsys, monkeypatch, name, default, other
):
    monkeypatch.setattr(experiment, "train_row", lambda *_, **__: pytest.fail("trained"))
    change = getattr(keras.config, f"set_{name}")
    change(other)
    try:
        settings = experiment.keras_settings()
        result = start([*FAST, "--output-dir", str(folder), "--runs", "dense", "dense-tuned"])
    finally:
        change(default)
    assert settings[name] == other
    assert experiment.keras_settings() == {}
    assert result == 2
    assert f"{name} is None in the file and {other!r} now" in capsys.readouterr().err


def test_images_with_their_channels_first_are_refused(tmp_path, capsys):
    keras.config.set_image_data_format("channels_first")
    try:
        assert start([*FAST, "--output-dir", str(tmp_path / "out")]) == 2
    finally:
        keras.config.set_image_data_format("channels_last")
    assert "Received: image_data_format=channels_first" in capsys.readouterr().err


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
