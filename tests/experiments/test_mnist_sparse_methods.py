"""The comparison of sparse methods on digits, from its command line to its table."""

import json

import keras
import mnist_sparse_methods
import numpy as np
import pandas as pd
import pytest

from harness import rows, sparse_methods, splits, training
from harness.command_line import main
from harness.datasets import load
from keras_sac import SACDense
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

TINY = ("--dataset", "digits", "--limit", "120", "--epochs", "2", "--seeds", "3")
LAYERS = {"padding": "same", "hidden_units": 64}
STRENGTHS = ("--l1", "0.01", "--proximal", "20", "--proximal-filters", "200")
FAST = (*TINY, *STRENGTHS, "--frequency", "1", "--ranks", "20", "12")
ROWS = [
    *("dense", "l1-0.01", "proximal-20", "proximal-filters-200", "polynomial-80", "sparsemax"),
    *("sac-pca-20", "sac-pca-12", "sac-random-12", "combined"),
]


def rows_of(*arguments):
    import tyro

    options = tyro.cli(mnist_sparse_methods.SparseOptions, args=arguments)
    setup = mnist_sparse_methods.SETUPS[options.dataset]
    return mnist_sparse_methods.make_rows(setup.settings(options))


def start(arguments):
    return main(mnist_sparse_methods.EXPERIMENT, arguments)


def test_rows():
    found = {row.name: row for row in rows_of()}
    assert [name for name in found if name.startswith("l1")] == [
        *("l1-0.01", "l1-0.001", "l1-0.0001", "l1-0.00001")
    ]
    assert {"dense", "polynomial-80", "sparsemax", "sac-pca-64", "combined"} <= found.keys()
    assert sum(row.method == "proximal" for row in found.values()) == 3
    assert found["polynomial-80"].settings["frequency"] == 100
    assert found["l1-0.00001"].settings["strength"] == 0.00001
    assert "stored and not trained" in found["sac-pca-64"].note
    assert not any(row.skip_reason for row in found.values())
    assert [row.name for row in rows_of(*FAST)] == ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    assert start([*FAST, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    found = (json.loads(path.read_text()) for path in (folder / "runs").iterdir())
    return {run["row"]: run for run in found}


@pytest.mark.slow
def test_end_to_end(folder, runs):
    assert {path.name for path in folder.iterdir()} == {
        *("runs", "table.csv", "table.md"),
        *("accuracy_against_size.png", "accuracy_and_size.png", "learning_curves.png"),
    }
    assert set(runs) == set(ROWS)
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert list(table.index) == ROWS
    # 9 * 32 + 32, 4 * 4 * 32 * 64 + 64, 64 * 10 + 10.
    dense = 320 + 512 * 64 + 64 + 650
    assert table["stored"].tolist()[:6] == [dense] * 6
    assert table["trainable"].tolist()[:6] == [dense] * 6
    for rank in (20, 12):
        learner = 320 + rank * 64 + 64 + 650
        assert table.loc[f"sac-pca-{rank}", "trainable"] == learner
        assert table.loc[f"sac-pca-{rank}", "stored"] == learner + 512 * rank
    assert table.loc["combined", "stored"] == table.loc["sac-pca-12", "stored"]
    assert table.loc["polynomial-80", "sparsity_mean"] == pytest.approx(80, abs=0.02)
    text = (folder / "table.md").read_text()
    assert "mnist_sparse_methods.py --dataset digits" in text
    assert "| gzip, bytes |" in " ".join(text.split())
    assert str(folder) not in text


@pytest.mark.slow
def test_the_model_of_the_chosen_epoch_is_measured_with_its_head(runs):
    for run in runs.values():
        facts = run["facts"]
        assert facts["measured_accuracy"] == run["result"]["test_accuracy"]
        assert list(facts["activations"]) == ["conv", "pool", "flatten", "hidden", "head"]
        assert facts["activations"]["head"] == facts["output_sparsity"]
        # The sparsity of the weights that were chosen, not of the last ones.
        chosen = run["history"]["sparsity"][run["result"]["chosen_epoch"] - 1]
        assert facts["sparsity"] == chosen
        # Without the state of an optimizer, which would be another two thirds.
        assert 4 * run["counts"]["stored"] < facts["file_bytes"]
        assert facts["file_bytes"] < 4 * run["counts"]["stored"] + 40_000
        assert 0 < facts["gzip_bytes"] < facts["file_bytes"]
        assert facts["nonzero_weights"] <= run["counts"]["stored"]


@pytest.mark.slow
def test_each_method_makes_its_kind_of_zeros(runs):
    facts = {name: run["facts"] for name, run in runs.items()}
    for name in ("sparsemax", "combined"):
        assert facts[name]["output_sparsity"] > 0
    assert facts["dense"]["output_sparsity"] == facts["dense"]["sparsity"] == 0
    # L1 in the loss makes small weights, and proximal L1 makes zeros.
    assert facts["l1-0.01"]["sparsity"] < 1e-3
    assert facts["l1-0.01"]["near_zero"] > 2 * facts["dense"]["near_zero"]
    assert 0.2 < facts["proximal-20"]["sparsity"] < 1
    assert facts["proximal-20"]["filter_sparsity"] < 1
    assert facts["proximal-filters-200"]["filter_sparsity"] > 0
    assert facts["polynomial-80"]["gzip_bytes"] < 0.5 * facts["dense"]["gzip_bytes"]
    assert facts["combined"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert facts["sac-pca-12"]["rank"] == 12
    assert facts["sac-pca-12"]["explained_variance"] < facts["sac-pca-20"]["explained_variance"]
    assert facts["sac-random-12"]["explained_variance"] is not None


@pytest.mark.slow
def test_finished_runs_are_not_repeated(folder, capsys):
    assert start([*FAST, "--output-dir", str(folder)]) == 0
    assert capsys.readouterr().out.count("already done") == len(ROWS)


def test_the_basis_is_that_of_the_features_of_the_untrained_convolution():
    split = splits.split(load("digits").limited(200), 3)
    trial = rows.Trial(3, split, rows.Recipe(1, 32, 1e-3, algorithm="adam"))
    found = {}

    def watched(build, name):
        def keep(trial):
            plan = build(trial)
            layers = {layer.name: layer for layer in plan.model.layers}
            found[name] = plan.model, layers["conv"].get_weights()[0]
            return plan

        training.train_row(rows.Row(name, keep), trial, verbose=0)

    watched(lambda trial: sparse_methods.build(trial, **LAYERS), "dense")
    watched(lambda trial: sparse_methods.build(trial, basis="pca", rank=8, **LAYERS), "pca")
    watched(lambda trial: sparse_methods.build(trial, basis="random", rank=8, **LAYERS), "random")
    kernel = found["dense"][1]
    for _, other in found.values():
        # The moments of the features, which are shared, are those of each row.
        np.testing.assert_array_equal(other, kernel)
    model = found["pca"][0]
    [layer] = [layer for layer in model.layers if isinstance(layer, SACDense)]
    padded = np.pad(split.x_train[..., 0], ((0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nyxhw,hwf->nyxf", patches, kernel[:, :, 0]), 0)
    features = features.reshape(-1, 4, 2, 4, 2, 32).max(axis=(2, 4)).reshape(len(padded), -1)
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2
    basis = keras.ops.convert_to_numpy(layer.basis)
    kept = np.sum(((features - features.mean(axis=0)) @ basis) ** 2)
    assert kept == pytest.approx(values[:8].sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "l1-7"], "Received: l1-7; expected names among dense, l1-0.01"),
        (["--l1", "0"], "--l1 must be different positive numbers. Received: 0.0"),
        (
            ["--proximal", "0.1", "0.1"],
            "--proximal must be different positive numbers. Received: 0.1 0.1",
        ),
        (
            ["--proximal-filters", "nan"],
            "--proximal-filters must be different positive numbers. Received: nan",
        ),
        (["--ranks", "0"], "--ranks must be different integers of at least 1. Received: 0"),
        (
            ["--limit", "150", "--ranks", "200"],
            "A basis of rank 200 needs more than 200 training samples",
        ),
        (["--ranks", "600", "16"], "--ranks must be at most 512, the inputs of the hidden layer."),
        (["--frequency", "0"], "--frequency must be at least 1. Received: 0"),
        (["--frequency", "400"], "pruning would end at step 400 of a training of 240 steps"),
        (["--momentum", "0.9"], "the optimizer is adam"),
    ],
)
def test_errors_are_one_line_and_code_2(refused, arguments, message):
    refused(start, arguments, message)
