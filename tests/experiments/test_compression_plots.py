"""Plots of the compression comparison."""

import pytest
from compress_trained import VIEW

from harness import compression_plots, tables

pytestmark = pytest.mark.backend_free

DRAWN = {
    "parameters": compression_plots.accuracy_against_parameters,
    "macs": compression_plots.accuracy_against_macs,
    "zeros": compression_plots.accuracy_against_zeros,
}


@pytest.fixture
def runs(outcome):
    def one(network, method, seed, accuracy, fraction, budget=None, finetuned=None):
        name = f"{network}.{method}-{budget}-{fraction}"
        made = outcome(accuracy=accuracy)
        made["facts"] = {
            "parameters_fraction": 1.0 if budget == "zeros" else fraction,
            "macs_fraction": 1.0 if budget == "zeros" else fraction,
            "sparsity": 1 - fraction if budget == "zeros" else 0.0,
            "compression_seconds": 1.5,
        } | ({} if finetuned is None else {"finetuned_accuracy": finetuned})
        settings = {"method": method, "network": network, "budget": budget}
        return {"row": name, "seed": seed, "row_settings": settings, **made}

    return [
        run
        for seed in (1, 2)
        for network in ("small", "large")
        for run in (
            one(network, "dense", seed, 0.99, 1.0, finetuned=0.991),
            one(network, "svd", seed, 0.1 * seed, 0.5, "macs", finetuned=0.9),
            one(network, "fisher", seed, 1.0, 0.125, "macs", finetuned=0.95),
            one(network, "obs", seed, 0.98, 0.05, "zeros"),
        )
    ]


def drawn(runs, folder):
    results = tables.Results(runs, [], view=VIEW)
    for name, draw in DRAWN.items():
        draw(results, folder / f"{name}.png")
    return {path.stem for path in folder.iterdir()}


def test_a_plot_for_each_budget_that_has_rows(runs, tmp_path):
    assert drawn(runs, tmp_path) == {"macs", "zeros"}


def test_one_seed_without_fine_tuning_and_without_the_baseline(runs, tmp_path):
    left = [run for run in runs if run["seed"] == 1 and run["row_settings"]["method"] != "dense"]
    for run in left:
        run["facts"].pop("finetuned_accuracy", None)
    assert drawn(left, tmp_path) == {"macs", "zeros"}


def test_the_baseline_alone_draws_nothing(runs, tmp_path):
    assert not drawn([run for run in runs if run["row_settings"]["method"] == "dense"], tmp_path)
