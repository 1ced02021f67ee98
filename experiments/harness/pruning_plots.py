"""Figures of the pruning comparison, made from the table and the result files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.plots import learning_curves
from harness.style import STYLE, colours_of, numbers, save
from keras_sac import pruning

if TYPE_CHECKING:
    from harness.session import Experiment


def draw(
    experiment: "Experiment", runs: list[dict[str, Any]], table: pd.DataFrame, folder: Path
) -> None:
    """Draw all figures that the runs give something for."""
    title = experiment.title
    # The others start from the trained network: their epochs are no further ones of the same kind.
    from_start = [run for run in runs if "tuning" not in run["row_settings"]]
    ranked = {run["row"] for run in runs if "criterion" in run["row_settings"]}
    accuracy_against_sparsity(
        table[~table["row"].isin(ranked)],
        folder / "accuracy_against_sparsity.png",
        baseline=experiment.baseline,
        title=title,
    )
    schedules(runs, experiment.order, folder / "schedules.png", title=title)
    one_shot(table, folder / "one_shot.png", title=title)
    criteria(runs, table, folder / "criteria.png", baseline=experiment.baseline, title=title)
    learning_curves(from_start, experiment.order, folder / "learning_curves.png", title=title)


def accuracy_against_sparsity(
    table: pd.DataFrame, path: Path, *, baseline: str, title: str
) -> None:
    """Draw test accuracy against the share of zeros, one standard deviation as error bars.

    Args:
        table: A `tables.summary` with `sparsity_mean`; only rows with zeros are drawn.
        path: PNG to write; not written where there is no such row.
        baseline: Row drawn as a line, with a band of one standard deviation.
        title: Says what was measured on what.
    """
    pruned = table[table["sparsity_mean"] > 1]
    if pruned.empty:
        return
    colours = colours_of([baseline, *table["method"]])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.8), layout="constrained")
        axes = figure.add_subplot()
        for method, group in pruned.groupby("method", sort=False):
            group = group.sort_values("sparsity_mean")
            axes.errorbar(
                100 - group["sparsity_mean"],
                group["test_accuracy_mean"],
                yerr=group["test_accuracy_std"].fillna(0),
                color=colours[str(method)],
                marker="o",
                markersize=4,
                linewidth=1,
                elinewidth=1,
                capsize=2.5,
                label=str(method),
            )
        for _, dense in table[table["row"] == baseline].iterrows():
            level, spread = dense["test_accuracy_mean"], np.nan_to_num(dense["test_accuracy_std"])
            axes.axhline(level, color="black", linewidth=0.9, linestyle="--", label=baseline)
            axes.axhspan(level - spread, level + spread, color="black", alpha=0.08, linewidth=0)
        axes.set_xscale("log")
        axes.invert_xaxis()
        ticks = [zeros for zeros in (0, 50, 80, 90, 95, 98, 99) if _within(axes, 100 - zeros)]
        axes.set_xticks([100 - zeros for zeros in ticks], [f"{zeros}" for zeros in ticks])
        axes.minorticks_off()
        axes.set(xlabel="zeros among the kernels, %", ylabel="test accuracy, %", title=title)
        axes.grid(linewidth=0.3, alpha=0.6)
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
        save(figure, path)


def _within(axes: Axes, value: float) -> bool:
    low, high = sorted(axes.get_xlim())
    return low <= value <= high


def schedules(
    runs: Sequence[dict[str, Any]], order: Sequence[str], path: Path, *, title: str
) -> None:
    """Draw the sparsity that was reached over the steps, and what the schedules ask for.

    Args:
        runs: Contents of result files; those with a `trace` of the first seed are drawn.
        order: Names of the rows, in the order of the legend.
        path: PNG to write; not written where there is no such run.
        title: Says what was measured on what.
    """
    traced = [run for run in runs if "trace" in run["facts"] and run["row"].startswith("poly")]
    seed = min((run["seed"] for run in traced), default=None)
    traced = [run for run in traced if run["seed"] == seed]
    if not traced:
        return
    traced.sort(key=lambda run: order.index(run["row"]) if run["row"] in order else len(order))
    colours = colours_of(["", *(run["row"] for run in traced)])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for run in traced:
            trace, asked = run["facts"]["trace"], run["facts"]["schedule"]
            schedule = pruning.PolynomialDecay(**asked)
            steps = np.linspace(asked["begin_step"], max(trace["step"]), 200).astype("int32")
            wanted = [100 * float(schedule(int(step))[1]) for step in steps]
            colour = colours[run["row"]]
            axes.plot(steps, wanted, color=colour, linewidth=0.9, linestyle="--")
            reached = 100 * numbers(trace["sparsity"])
            axes.plot(trace["step"], reached, ".", color=colour, markersize=4, label=run["row"])
        axes.plot([], [], color="0.4", linewidth=0.9, linestyle="--", label="asked for")
        axes.set(xlabel="step", ylabel="zeros among the kernels, %", title=f"{title}, seed {seed}")
        axes.set_ylim(0, 102)
        axes.grid(linewidth=0.3, alpha=0.6)
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
        save(figure, path)


def one_shot(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw test accuracy before pruning at once, after it, and after fine-tuning, as bars.

    Args:
        table: A `tables.summary`; rows with `test_accuracy_pruned_mean` are drawn.
        path: PNG to write; not written where there is no such row.
        title: Says what was measured on what.
    """
    rows = table[table["test_accuracy_pruned_mean"].notna()]
    if rows.empty:
        return
    stages = {
        "before": ("test_accuracy_before", "#7F7F7F"),
        "pruned": ("test_accuracy_pruned", "#D55E00"),
        "fine-tuned": ("test_accuracy", "#0072B2"),
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 * len(rows) + 1.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        places = np.arange(len(rows))
        for index, (label, (name, colour)) in enumerate(stages.items()):
            heights = rows[f"{name}_mean"]
            bars = axes.bar(
                places + 0.27 * (index - 1),
                heights,
                0.25,
                yerr=rows[f"{name}_std"].fillna(0),
                color=colour,
                error_kw={"elinewidth": 1, "capsize": 2},
                label=label,
            )
            axes.bar_label(bars, [f"{height:.2f}" for height in heights], padding=3, fontsize=8)
        names = [
            f"{name}\n{zeros:.1f} % zeros"
            for name, zeros in zip(rows["row"], rows["sparsity_mean"], strict=True)
        ]
        axes.set_xticks(places, names)
        axes.set_ylim(0, 112)
        axes.set(ylabel="test accuracy, %", title=title)
        figure.legend(loc="outside right center", frameon=False, fontsize=8)
        save(figure, path)


def criteria(
    runs: Sequence[dict[str, Any]],
    table: pd.DataFrame,
    path: Path,
    *,
    baseline: str,
    title: str,
) -> None:
    """Draw the test error of each criterion at equal sparsity as bars, the baseline as a line.

    Args:
        runs: Contents of result files; those whose row has a `criterion` are drawn.
        table: A `tables.summary` of them.
        path: PNG to write; not written where there is no such run.
        baseline: Row drawn as a line.
        title: Says what was measured on what.
    """
    settings = {run["row"]: run["row_settings"] for run in runs}
    rows = table[[("criterion" in settings[row]) for row in table["row"]]]
    if rows.empty:
        return
    levels = sorted({settings[row]["sparsity"] for row in rows["row"]})
    colours = colours_of(["", *rows["method"]])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(levels) + 0.6, 3.6), layout="constrained")
        panels = figure.subplots(1, len(levels), squeeze=False)[0]
        for axes, level in zip(panels, levels, strict=True):
            group = rows[[settings[row]["sparsity"] == level for row in rows["row"]]]
            bars = axes.bar(
                group["method"],
                100 - group["test_accuracy_mean"],
                0.7,
                yerr=group["test_accuracy_std"].fillna(0),
                color=[colours[method] for method in group["method"]],
                error_kw={"elinewidth": 1, "capsize": 2},
            )
            errors = [f"{100 - value:.2f}" for value in group["test_accuracy_mean"]]
            axes.bar_label(bars, errors, padding=3, fontsize=8)
            for value in table.loc[table["row"] == baseline, "test_accuracy_mean"]:
                axes.axhline(
                    100 - value, color="black", linewidth=0.9, linestyle="--", label=baseline
                )
                axes.legend(frameon=False, fontsize=8, loc="upper left")
            axes.margins(y=0.2)
            axes.tick_params(axis="x", labelrotation=30)
            axes.set(ylabel="test error, %", title=f"{100 * level:.0f} % zeros")
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        save(figure, path)
