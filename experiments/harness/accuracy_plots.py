"""Plots for every experiment: accuracy against trained parameters, and learning curves.

Each function draws results to a PNG. Error bars are one standard deviation over the seeds.
"""

from pathlib import Path

import numpy as np
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from harness.plot_labels import label_points
from harness.plot_style import LINES, colours_of, draw_points, legend_right, new_figure, numbers
from harness.tables import Results


def accuracy_against_parameters(results: Results, path: Path) -> None:
    """Draw test accuracy against trained parameters, and the baseline as a line."""
    table, baseline = results.table, results.baseline
    colours = colours_of(table["method"])
    with new_figure(path, 7.5, 4.8) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        low, high = np.percentile(table["trainable"].to_numpy(float), [0, 100])
        axes.set_xlim(low / 1.5, high * max(1.6, (high / low) ** 0.15))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="trained parameters", ylabel="test accuracy, %", title=results.title)
        for method, group in table.groupby("method", sort=False):
            group = group.sort_values("trainable")
            errors = group["test_accuracy_std"].fillna(0)
            x, y = group["trainable"], group["test_accuracy_mean"]
            draw_points(axes, x, y, errors, colours[str(method)], markersize=4.5)
        for level in table.loc[table["row"] == baseline, "test_accuracy_mean"]:
            axes.axhline(level, color=colours[baseline], linewidth=0.8, linestyle="--", zorder=0)
        axes.grid(axis="y")
        label_points(
            axes,
            table["trainable"].to_numpy(float),
            table["test_accuracy_mean"].to_numpy(float),
            table["row"].tolist(),
            [colours[method] for method in table["method"]],
            table["test_accuracy_std"].fillna(0).to_numpy(float),
        )


def learning_curves(results: Results, path: Path) -> None:
    """Draw training loss and validation accuracy over the epochs, as means over the seeds."""
    by_row = {name: [run for run in results.runs if run["row"] == name] for name in results.order}
    by_row = {name: group for name, group in by_row.items() if group}
    methods = [group[0]["row_settings"]["method"] for group in by_row.values()]
    colours, used = colours_of(methods), dict.fromkeys(methods, 0)
    with new_figure(path, 9, 4) as figure:
        left, right = figure.subplots(1, 2)
        for (name, group), method in zip(by_row.items(), methods, strict=True):
            style = LINES[used[method] % len(LINES)]
            used[method] += 1
            for axes, key, scale in ((left, "loss", 1), (right, "val_accuracy", 100)):
                curve = scale * np.mean([numbers(run["history"][key]) for run in group], axis=0)
                axes.plot(
                    np.arange(1, len(curve) + 1),
                    curve,
                    color=colours[method],
                    linestyle=style,
                    linewidth=1.3,
                    marker="o" if len(curve) == 1 else "",
                    label=name,
                )
        left.set(xlabel="epoch", ylabel="training loss", title=results.title)
        right.set(xlabel="epoch", ylabel="validation accuracy, %")
        for axes in (left, right):
            axes.grid()
            axes.xaxis.get_major_locator().set_params(integer=True)
        legend_right(figure, *right.get_legend_handles_labels())
