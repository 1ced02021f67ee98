"""Plots of the pruning comparison: each is drawn if there is something to draw."""

import numpy as np
import pytest

from harness import pruning_plots, tables

pytestmark = pytest.mark.backend_free

VIEW = tables.View(
    fractions={name: name for name in ("sparsity", "test_accuracy_before", "test_accuracy_pruned")},
    gap=True,
)


@pytest.fixture
def runs(outcome):
    schedule = {"initial_sparsity": 0.5, "final_sparsity": 0.8, "begin_step": 0, "end_step": 9}

    def one(row, seed, facts, **settings):
        method = row.split("-")[0]
        made = outcome(accuracy=0.9 - 0.01 * seed)
        made["facts"] = {"sparsity": 0.0, **facts}
        return {"row": row, "seed": seed, "row_settings": {"method": method, **settings}, **made}

    shot = {"test_accuracy_before": 0.9, "test_accuracy_pruned": 0.4, "sparsity": 0.6}
    trace = {"trace": {"step": [1, 9], "sparsity": [0.5, 0.8]}, "schedule": schedule}
    return [
        run
        for seed in (1, 2)
        for run in (
            one("dense", seed, {}),
            one("threshold-0.05", seed, shot),
            one("polynomial-80", seed, {"sparsity": 0.8, **trace}),
            one("polynomial-99", seed, {"sparsity": 0.99, **trace}),
            one("obd-90", seed, {"sparsity": 0.9}, criterion="obd", sparsity=0.9),
            one("obs-98", seed, {"sparsity": 0.98}, criterion="obs", sparsity=0.98),
        )
    ]


def drawn(runs, folder):
    results = tables.Results(runs, ["polynomial-80"], view=VIEW, title="digits")
    for name in ("accuracy_against_sparsity", "schedules", "one_shot", "criteria"):
        getattr(pruning_plots, name)(results, folder / f"{name}.png")
    return sorted(path.name for path in folder.glob("*.png"))


def test_all_plots(tmp_path, runs):
    expected = ["accuracy_against_sparsity.png", "criteria.png", "one_shot.png", "schedules.png"]
    assert drawn(runs, tmp_path) == expected


@pytest.mark.parametrize("seed", [1, None])
def test_without_pruned_rows_no_plot_is_drawn(tmp_path, runs, seed):
    alone = [run for run in runs if run["row"] == "dense" and seed in (run["seed"], None)]
    assert drawn(alone, tmp_path) == []


def test_one_seed_has_no_deviation(tmp_path, runs):
    single = [run for run in runs if run["seed"] == 1]
    assert np.isnan(tables.Results(single, [], view=VIEW).table["sparsity_std"]).all()
    assert len(drawn(single, tmp_path)) == 4
