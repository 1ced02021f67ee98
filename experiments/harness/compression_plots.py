"""Plots of the compression comparison: accuracy against parameters, MACs and zeros.

Each function draws results to a PNG, unless there is nothing to draw: a panel for each network, and
a second line of panels after fine-tuning. Error bars are one standard deviation over the seeds.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from harness.plot_style import (
    LEAST_ERROR,
    colours_of,
    draw_points,
    legend_right,
    log_error_axis,
    new_figure,
)
from harness.tables import Results

# Column of the table -> title of the panels.
_STAGES = {"test_accuracy": "without training", "finetuned_accuracy": "fine-tuned"}


def accuracy_against_parameters(results: Results, path: Path) -> None:
    """Draw test accuracy against parameters, of the rows with a budget of parameters."""
    _panels(results, path, "parameters", "parameters, % of the dense network")


def accuracy_against_macs(results: Results, path: Path) -> None:
    """Draw test accuracy against multiplications, of the rows with a budget of them."""
    _panels(results, path, "macs", "MACs, % of the dense network")


def accuracy_against_zeros(results: Results, path: Path) -> None:
    """Draw test accuracy against the fraction of zeros, of the pruned rows."""
    _panels(results, path, "zeros", "zeros among the kernels, %")


def _panels(results: Results, path: Path, budget: str, label: str) -> None:
    table = results.table
    budgets = {run["row"]: run["row_settings"].get("budget") for run in results.runs}
    of_budget = table["row"].map(budgets) == budget
    if not of_budget.any():
        return
    table = table[of_budget | (table["method"] == results.baseline)]
    left = 100 - table["sparsity_mean"] if budget == "zeros" else table[f"{budget}_fraction_mean"]
    table = table.assign(left=left)
    networks = list(dict.fromkeys(table.loc[of_budget, results.view.group]))
    stages = {name: title for name, title in _STAGES.items() if table[f"{name}_mean"].notna().any()}
    colours = colours_of([results.baseline, *table["method"]])
    with new_figure(path, 3.3 * len(networks) + 1.9, 3.1 * len(stages) + 0.3) as figure:
        grid = figure.subplots(len(stages), len(networks), squeeze=False)
        for line, (stage, title) in zip(grid, stages.items(), strict=True):
            for axes, network in zip(line, networks, strict=True):
                rows = table[table[results.view.group] == network]
                _panel(axes, rows, stage, results.baseline, colours)
                axes.set_title(f"{network}, {title}")
                _label_budget(axes, rows["left"], budget == "zeros")
        for axes in grid[-1]:
            axes.set_xlabel(label)
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        entries = {
            name: handle
            for axes in grid.flat
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        legend_right(figure, list(entries.values()), list(entries))
        figure.suptitle(results.title, x=0.01, ha="left", fontsize=9)


def _panel(
    axes: Axes, rows: pd.DataFrame, stage: str, baseline: str, colours: dict[str, str]
) -> None:
    errors = (100 - rows[f"{stage}_mean"]).clip(lower=LEAST_ERROR)
    spread = rows[f"{stage}_std"].fillna(0)
    # A log axis has no zero, so error bars must end above it.
    rows = rows.assign(error=errors, up=spread, down=np.minimum(spread, 0.9 * errors))
    log_error_axis(axes)
    axes.set_xscale("log")
    for method, group in rows.groupby("method", sort=False):
        if method == baseline:
            line = {"color": colours[baseline], "linewidth": 0.9, "linestyle": "--"}
            axes.axhline(group["error"].iloc[0], label=baseline, **line)
            continue
        group = group.sort_values("left")
        draw_points(
            axes,
            group["left"],
            group["error"],
            [group["down"], group["up"]],
            colours[str(method)],
            markersize=4,
            label=str(method),
        )
    axes.set_ylim(1.15 * (rows["error"] + rows["up"]).max(), rows["error"].min() / 1.15)
    axes.grid()


def _label_budget(axes: Axes, left: pd.Series, zeros: bool) -> None:
    """Label the horizontal axis, from all to little of the network, at the levels of the rows."""
    axes.set_xlim(110, left.min() / 1.2)
    levels: list[float] = [75, 50, 35, 25, 12.5, 6, 3]
    if zeros:
        levels = [50, 30, 20, 10, 5, 3]
    levels = [level for level in levels if level > left.min() / 1.2]
    axes.set_xticks(levels, [f"{100 - level if zeros else level:g}" for level in levels])
    axes.minorticks_off()
