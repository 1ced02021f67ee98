"""The SAC comparison on digits, from its command line to its table."""

import json

import cifar_sac
import keras
import numpy as np
import pandas as pd
import pytest

from harness import ExperimentError, experiment, rows, splits, training
from harness.command_line import main
from harness.datasets import load
from harness.options import Options
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

TINY = ("--dataset", "digits", "--limit", "120", "--epochs", "1")


def start(arguments):
    return main(cifar_sac.EXPERIMENT, arguments)


def rows_of(dataset):
    return cifar_sac.make_rows(cifar_sac.SETUPS[dataset].settings(Options(dataset=dataset)))


def test_rows_of_each_data_set():
    names = [row.name for row in rows_of("cifar10")]
    assert names == [
        *("dense", "pca-128", "pca-64", "pca-32", "lda-9", "random-128", "lda-pca-128"),
        *("pca-whitened-128", "dct-128", "pca-128-finetuned", "pca-128-precomputed"),
    ]
    digits = rows_of("digits")
    assert [row.name for row in digits][1:5] == ["pca-32", "pca-16", "pca-8", "lda-9"]
    assert "at most 9 columns" in digits[4].note


def test_rows_are_selected_by_names_and_patterns():
    rows = rows_of("digits")
    selected = experiment.select_rows(rows, ("random-*", "dense", "pca-[13]*"))
    assert [row.name for row in selected] == [
        *("dense", "pca-32", "pca-16", "random-32", "pca-32-finetuned", "pca-32-precomputed")
    ]
    with pytest.raises(ExperimentError, match="Received: pca; expected"):
        experiment.select_rows(rows, ("dense", "pca"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    runs = ("dense", "pca-32-precomputed")
    arguments = [*TINY, "--seeds", "3", "--output-dir", str(folder), "--runs", *runs]
    assert start(arguments) == 0
    return folder


def test_end_to_end(folder):
    files = {path.name for path in folder.iterdir()}
    assert files == {
        *("runs", "table.csv", "table.md", "accuracy_against_parameters.png"),
        *("learning_curves.png", "basis_pca.png"),
    }
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert list(table.index) == ["dense", "pca-32-precomputed"]
    # 64 * 512 + 512 + 512 * 10 + 10, and with 32 in place of 64; the basis is 64 * 32.
    assert table["trainable"].tolist() == [38410, 22026]
    assert table["stored"].tolist() == [38410, 22026 + 2048]
    assert table["macs"].tolist() == [64 * 512 + 5120, 64 * 32 + 32 * 512 + 5120]
    text = (folder / "table.md").read_text()
    assert text.startswith("digits (scikit-learn) (120 training samples")
    assert keras.config.backend() in text
    run = json.loads((folder / "runs" / "pca-32-precomputed-seed3.json").read_text())
    assert run["settings"]["dataset_sha256"] == load("digits").sha256
    assert run["data"]["label"] == "digits (scikit-learn)"
    assert (run["data"]["x_train"], run["data"]["x_val"], run["data"]["x_test"]) == (108, 12, 375)
    assert run["facts"]["rank"] == 32
    assert run["facts"]["projection_seconds"] > 0
    assert len(run["history"]["test_accuracy"]) == 1


def test_a_second_start_runs_only_what_is_missing(folder, capsys, monkeypatch):
    trained = []

    def train(row, trial, verbose):
        trained.append((row.name, trial.seed))
        return json.loads((folder / "runs" / "dense-seed3.json").read_text())

    monkeypatch.setattr(experiment, "train_row", train)
    arguments = [*TINY, "--output-dir", str(folder), "--runs", "dense", "pca-32-precomputed"]
    assert start([*arguments, "--seeds", "3"]) == 0
    assert trained == []
    assert "dense, seed 3: already done" in capsys.readouterr().out
    # The header has the command for the whole table, not the last command.
    assert start([*TINY, "--output-dir", str(folder), "--runs", "dense"]) == 0
    assert trained == [("dense", 42), ("dense", 43), ("dense", 44)]
    command = "--limit 120 --seeds 3 42 43 44 --runs dense pca-32-precomputed"
    header = (folder / "table.md").read_text().splitlines()[0]
    assert set(command.split()) <= set(header.replace("`", "").split())


def test_a_killed_script_keeps_its_finished_runs(tmp_path, outcome, monkeypatch):
    runs = ("dense", "dct-32")
    options = Options("digits", limit=120, seeds=(1, 2), runs=runs, output_dir=tmp_path)
    session = experiment.Session(cifar_sac.EXPERIMENT, options)
    trained = []

    def train(row, trial, verbose):
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append((row.name, trial.seed))
        return outcome()

    monkeypatch.setattr(experiment, "train_row", train)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_missing(session, session.run_files())
    assert trained == [("dense", 1), ("dct-32", 1), ("dense", 2)]
    del trained[:2]
    assert experiment.run_missing(session, session.run_files()) == 1
    assert trained == [("dense", 2), ("dct-32", 2)]


def test_other_settings_in_the_same_folder(folder, capsys):
    arguments = [*TINY[:-1], "2", "--seeds", "3", "--output-dir", str(folder), "--runs", "dense"]
    assert start(arguments) == 2
    error = capsys.readouterr().err
    assert "epochs is 1 in the file and 2 now" in error
    assert "--output-dir" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "pca-9000"], "Received: pca-9000; expected names among dense, pca-32"),
        (["--limit", "30"], "without the validation part. Raise --limit."),
        (["--data-dir", "x"], "Remove --data-dir"),
        (["--epochs", "0"], "--epochs must be at least 1. Received: 0"),
    ],
)
def test_errors_are_one_line_and_code_2(refused, arguments, message):
    refused(start, arguments, message)


def test_a_folder_that_cannot_be_written(tmp_path, capsys, monkeypatch, outcome):
    monkeypatch.setattr(experiment, "train_row", lambda *_, **__: outcome())
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file" / "below")
    assert start([*TINY, "--output-dir", output, "--runs", "dense"]) == 2
    assert "pass another --output-dir" in capsys.readouterr().err


def test_the_default_folder_is_ignored_by_git(tmp_path, monkeypatch, outcome):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train_row", lambda *_, **__: outcome())
    assert start([*TINY, "--seeds", "3", "--runs", "dense"]) == 0
    [folder] = (tmp_path / "results" / "cifar_sac").iterdir()
    assert (folder / ".gitignore").read_text() == "*\n"
    assert (folder / "table.md").exists()


def test_fine_tuning_trains_the_basis_from_half_of_the_epochs_on():
    built = []
    for row in rows_of("digits"):
        if row.name in ("pca-32", "pca-32-finetuned"):
            split = splits.split(load("digits").limited(200), 42).flat()
            trial = rows.Trial(42, split, rows.Recipe(2, 64, 0.05))

            def build(trial, row=row):
                built.append(row.plan(trial))
                return built[-1]

            training.train_row(rows.Row(row.name, build), trial, verbose=0)
    frozen, tuned = (keras.ops.convert_to_numpy(plan.model.layers[0].basis) for plan in built)
    assert np.abs(tuned - frozen).max() > 1e-4
    np.testing.assert_allclose(frozen.T @ frozen, np.eye(32), atol=1e-4)
    assert tuned.shape == (64, 32)
    assert len(built[1].model.trainable_weights) == len(built[0].model.trainable_weights) + 1
