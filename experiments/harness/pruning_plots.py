"""Plots of the pruning comparison: accuracy by sparsity, schedules, one-shot pruning, criteria.

Each function draws results to a PNG, unless there is nothing to draw. Error bars are one standard
deviation over the seeds.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from harness import accuracy_plots
from harness.plot_style import (
    BAR_ERRORS,
    colours_of,
    draw_points,
    legend_right,
    new_figure,
    numbers,
)
from harness.tables import Results
from keras_sac import pruning


def learning_curves(results: Results, path: Path) -> None:
    """Draw the learning curves of the rows that are trained from initial weights.

    The other rows start from the trained network, so their epochs are not comparable.
    """
    from_start = results.only(lambda run: "tuning" not in run["row_settings"])
    accuracy_plots.learning_curves(from_start, path)


def accuracy_against_sparsity(results: Results, path: Path) -> None:
    """Draw test accuracy against the fraction of zeros, without the rows of a criterion."""
    ranked = {run["row"] for run in results.runs if "criterion" in run["row_settings"]}
    table, baseline = results.table, results.baseline
    table = table[~table["row"].isin(ranked)]
    pruned = table[table["sparsity_mean"] > 1]
    if pruned.empty:
        return
    colours = colours_of([baseline, *table["method"]])
    with new_figure(path, 7.5, 4.8) as figure:
        axes = figure.add_subplot()
        for method, group in pruned.groupby("method", sort=False):
            group = group.sort_values("sparsity_mean")
            draw_points(
                axes,
                100 - group["sparsity_mean"],
                group["test_accuracy_mean"],
                group["test_accuracy_std"].fillna(0),
                colours[str(method)],
                markersize=4,
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
        axes.set(
            xlabel="zeros among the kernels, %", ylabel="test accuracy, %", title=results.title
        )
        axes.grid()
        legend_right(figure)


def _within(axes: Axes, value: float) -> bool:
    low, high = sorted(axes.get_xlim())
    return low <= value <= high


def schedules(results: Results, path: Path) -> None:
    """Draw the sparsity over the steps of the first seed, and the target of the schedule."""
    order = results.order
    traced = [
        run for run in results.runs if "trace" in run["facts"] and run["row"].startswith("poly")
    ]
    seed = min((run["seed"] for run in traced), default=None)
    traced = [run for run in traced if run["seed"] == seed]
    if not traced:
        return
    traced.sort(key=lambda run: order.index(run["row"]) if run["row"] in order else len(order))
    colours = colours_of(["", *(run["row"] for run in traced)])
    title = f"{results.title}, seed {seed}"
    with new_figure(path, 7.5, 4.2) as figure:
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
        axes.set(xlabel="step", ylabel="zeros among the kernels, %", title=title)
        axes.set_ylim(0, 102)
        axes.grid()
        legend_right(figure)


def one_shot(results: Results, path: Path) -> None:
    """Draw test accuracy before one-shot pruning, after it, and after fine-tuning, as bars."""
    rows = results.table[results.table["test_accuracy_pruned_mean"].notna()]
    if rows.empty:
        return
    stages = {
        "before": ("test_accuracy_before", "#7F7F7F"),
        "pruned": ("test_accuracy_pruned", "#D55E00"),
        "fine-tuned": ("test_accuracy", "#0072B2"),
    }
    with new_figure(path, 2.2 * len(rows) + 1.4, 3.8) as figure:
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
                error_kw=BAR_ERRORS,
                label=label,
            )
            axes.bar_label(bars, [f"{height:.2f}" for height in heights], padding=3, fontsize=8)
        names = [
            f"{name}\n{zeros:.1f} % zeros"
            for name, zeros in zip(rows["row"], rows["sparsity_mean"], strict=True)
        ]
        axes.set_xticks(places, names)
        axes.set_ylim(0, 112)
        axes.set(ylabel="test accuracy, %", title=results.title)
        legend_right(figure)


def criteria(results: Results, path: Path) -> None:
    """Draw the test error of each criterion at equal sparsity, and the baseline as a line."""
    table = results.table
    settings = {run["row"]: run["row_settings"] for run in results.runs}
    rows = table[[("criterion" in settings[row]) for row in table["row"]]]
    if rows.empty:
        return
    levels = sorted({settings[row]["sparsity"] for row in rows["row"]})
    colours = colours_of(["", *rows["method"]])
    with new_figure(path, 3.6 * len(levels) + 0.6, 3.6) as figure:
        panels = figure.subplots(1, len(levels), squeeze=False)[0]
        for axes, level in zip(panels, levels, strict=True):
            group = rows[[settings[row]["sparsity"] == level for row in rows["row"]]]
            bars = axes.bar(
                group["method"],
                100 - group["test_accuracy_mean"],
                0.7,
                yerr=group["test_accuracy_std"].fillna(0),
                color=[colours[method] for method in group["method"]],
                error_kw=BAR_ERRORS,
            )
            errors = [f"{100 - value:.2f}" for value in group["test_accuracy_mean"]]
            axes.bar_label(bars, errors, padding=3, fontsize=8)
            line = {"color": "black", "linewidth": 0.9, "linestyle": "--"}
            for value in table.loc[table["row"] == results.baseline, "test_accuracy_mean"]:
                axes.axhline(100 - value, label=results.baseline, **line)
                axes.legend(loc="upper left")
            axes.margins(y=0.2)
            axes.tick_params(axis="x", labelrotation=30)
            axes.set(ylabel="test error, %", title=f"{100 * level:.0f} % zeros")
        figure.suptitle(results.title, x=0.01, ha="left", fontsize=9)
