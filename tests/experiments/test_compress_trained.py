"""The comparison of compression without training on digits, from its command line to its table."""

import json

import compress_trained
import pandas as pd
import pytest
import tyro

from harness import experiment, trained_networks, training
from harness.command_line import main
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

TINY = ("--dataset", "digits", "--limit", "400", "--calibration-samples", "200")
ROWS = [
    *("dense", "svd-uniform-macs-50", "svd-global-parameters-50", "pca-macs-50"),
    *("fisher-macs-50", "removal-macs-50", "magnitude-90", "magnitude-bn-90"),
    *("ours-90", "magnitude-2of4"),
]
NAMES = [f"digits-cnn.{name}" for name in ROWS]


def rows_of(*arguments):
    options = tyro.cli(compress_trained.CompressionOptions, args=arguments)
    setup = compress_trained.SETUPS[options.dataset]
    return compress_trained.make_rows(setup.settings(options))


def start(arguments):
    return main(compress_trained.EXPERIMENT, arguments)


def test_rows():
    names = [row.name for row in rows_of()]
    assert len(names) == len(set(names))
    # The baseline, seven methods with two budgets, five with zeros, and 2:4.
    assert sum(name.startswith("cifar-cnn.") for name in names) == 1 + 7 * 11 + 5 * 5 + 2
    assert {"resnet-20.fisher-parameters-70", "cifar-cnn.fisher-macs-12.5"} <= set(names)
    mnist = {row.name: row for row in rows_of("--dataset", "mnist", "--networks", "mnist-cnn")}
    assert {name.split(".")[0] for name in mnist} == {"mnist-cnn"}
    assert mnist["mnist-cnn.ours-97"].settings == {
        "method": "ours",
        "network": "mnist-cnn",
        "budget": "zeros",
        "level": 0.97,
        "calibration_samples": 2000,
        "finetune_limit": None,
    }
    assert "calibration_samples" not in mnist["mnist-cnn.magnitude-97"].settings
    lenet = {row.name: row for row in rows_of("--dataset", "mnist", "--networks", "lenet-5")}
    widths = lenet["lenet-5.removal-widths-25"].settings
    assert (widths["selection"], widths["compensate"]) == ("reconstruction", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    arguments = [*TINY, "--seeds", "3", "4", "--output-dir", str(folder), "--runs", *NAMES]
    assert start(arguments) == 0
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    found = (json.loads(path.read_text()) for path in (folder / "runs").iterdir())
    return {(run["row"].removeprefix("digits-cnn."), run["seed"]): run for run in found}


@pytest.mark.slow
def test_end_to_end(folder):
    assert {path.name for path in folder.iterdir()} == {
        *("networks", "runs", "table.csv", "table.md", "accuracy_against_macs.png"),
        *("accuracy_against_parameters.png", "accuracy_against_zeros.png"),
    }
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert list(table.index) == NAMES
    assert table["seeds"].tolist() == [2] * len(NAMES)
    # 9 * 16, 4 * 16 of the normalization, 144 * 32 + 32, 128 * 64 + 64, 64 * 10 + 10.
    assert table["stored"].iloc[0] == 144 + 64 + 4640 + 8256 + 650
    assert table["macs"].iloc[0] == 64 * 144 + 16 * 4608 + 8192 + 640
    table.index = ROWS
    for row in ("svd-uniform-macs-50", "pca-macs-50", "fisher-macs-50", "removal-macs-50"):
        assert 30 < table.loc[row, "macs_fraction_mean"] <= 50
    assert table.loc["svd-global-parameters-50", "parameters_fraction_mean"] <= 50
    # Groups of the one input channel of conv_1 have no weight too many.
    assert table.loc["magnitude-90", "sparsity_mean"] == pytest.approx(90, abs=0.01)
    assert 45 < table.loc["magnitude-2of4", "sparsity_mean"] < 50
    gaps = table["gap_mean"]
    assert table.loc["ours-90", "sparsity_mean"] == pytest.approx(90, abs=0.1)
    assert gaps["ours-90"] > gaps["magnitude-90"] + 10
    assert gaps["magnitude-bn-90"] != gaps["magnitude-90"]
    assert gaps["dense"] == 0
    assert gaps["fisher-macs-50"] > gaps["pca-macs-50"] > gaps["magnitude-90"]
    assert gaps["removal-macs-50"] > gaps["magnitude-90"]
    assert table["calibration_seconds"].notna().tolist() == [
        row.startswith(("pca", "fisher", "removal", "ours")) for row in ROWS
    ]
    text = (folder / "table.md").read_text()
    assert "1 epoch, seeds 3, 4" in text
    assert "| fine-tuned acc. % | test acc. % | vs dense, points |" in " ".join(text.split())
    assert str(folder) not in text


@pytest.mark.slow
def test_a_run_has_what_happened(runs):
    for (name, _), run in runs.items():
        facts = run["facts"]
        assert len(run["history"]["test_accuracy"]) == 1
        assert facts["compression_seconds"] > 0
        assert facts["finetuned_sparsity"] == pytest.approx(facts["sparsity"], abs=1e-6)
        assert facts["parameters_fraction"] == run["counts"]["stored"] / 13_754
        assert facts["report"] or name == "dense"
    for row in ("svd-uniform-macs-50", "fisher-macs-50"):
        report = runs[row, 3]["facts"]["report"]
        assert [each["layer"] for each in report] == ["conv_1", "conv_2", "dense_1", "dense_2"]
    assert "low_rank" in {each["method"] for each in report}
    pruned, dense = runs["magnitude-90", 3]["result"], runs["dense", 3]["result"]
    assert pruned["test_accuracy"] < dense["test_accuracy"]


@pytest.mark.slow
def test_all_seeds_have_the_same_network_and_data(runs):
    assert len({run["facts"]["network_sha256"] for run in runs.values()}) == 1
    assert len({run["result"]["test_accuracy"] for key, run in runs.items() if "dense" in key}) == 1
    # Other samples of the calibration, and another order of the fine-tuning.
    a, b = (runs["fisher-macs-50", seed]["facts"]["report"] for seed in (3, 4))
    assert a != b
    assert (
        runs["magnitude-90", 3]["facts"]["finetuned_val_accuracy"]
        != runs["dense", 3]["facts"]["finetuned_val_accuracy"]
    )


@pytest.mark.slow
def test_finished_runs_are_not_repeated(folder, capsys, monkeypatch):
    monkeypatch.setattr(experiment, "train_row", lambda *_, **__: pytest.fail("trained"))
    arguments = [*TINY, "--seeds", "3", "4", "--output-dir", str(folder), "--runs", *NAMES]
    assert start(arguments) == 0
    assert capsys.readouterr().out.count("already done") == 2 * len(NAMES)


@pytest.mark.slow
def test_networks_of_another_folder_are_used(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(trained_networks, "_train", lambda *_: pytest.fail("trained"))
    arguments = [*TINY, "--seeds", "3", "--epochs", "0", "--runs", "*.dense", "--output-dir"]
    networks = ("--networks-dir", str(folder / "networks"))
    assert start([*arguments, str(tmp_path / "out"), *networks]) == 0
    assert not (tmp_path / "out" / "networks").exists()
    text = (tmp_path / "out" / "table.md").read_text()
    assert "0 epochs" in text
    assert "--networks-dir FOLDER" in text
    [file] = (tmp_path / "out" / "runs").iterdir()
    run = json.loads(file.read_text())
    assert "finetuned_accuracy" not in run["facts"]
    assert str(folder) not in file.read_text()


def test_a_level_that_a_method_cannot_reach_is_reported(tmp_path, capsys, monkeypatch):
    names = ["digits-cnn.dense", "digits-cnn.fisher-macs-12.5", "digits-cnn.magnitude-50"]
    arguments = ["--seeds", "3", "4", "--epochs", "0", "--round-to", "64", "--runs", *names]
    monkeypatch.setattr(training, "LATENCY_BATCHES", (1,))
    assert start([*TINY, *arguments, "--output-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("skipped, The budget cannot be met") == 2
    text = (tmp_path / "table.md").read_text()
    assert "- digits-cnn.fisher-macs-12.5: not run, The budget cannot be met: macs=" in text
    assert len(list((tmp_path / "runs").iterdir())) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "dense"], "expected names among digits-cnn.dense, digits-cnn.svd-uniform"),
        (["--runs", "*.svd-*", "x*"], "--runs has unknown rows. Received: x*;"),
        (
            ["--networks", "lenet-5"],
            "--networks must be among digits-cnn with --dataset digits. Received: lenet-5.",
        ),
        (["--calibration-samples", "0"], "--calibration-samples must be at least 1. Received: 0"),
        (["--calibration-samples", "9999"], "--calibration-samples must be at most 1280, the"),
        (["--finetune-limit", "9999"], "--finetune-limit must be at most 1280, the samples of"),
        (["--epochs", "-1"], "--epochs must be at least 0. Received: -1"),
    ],
)
def test_errors_are_one_line_and_code_2(refused, arguments, message):
    refused(start, arguments, message)
