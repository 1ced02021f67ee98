"""Figures of what sparse models cost, made from the table: accuracy, bytes, front of both."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullLocator

from harness.labels import label_points
from harness.plots import learning_curves
from harness.style import STYLE, colours_of, save

if TYPE_CHECKING:
    from harness.session import Experiment

# Where the error is no more than this, in per cent, it is drawn as this.
_LEAST_ERROR = 0.05
_ACCURACIES = (0, 50, 80, 90, 95, 97, 98, 98.5, 99, 99.5, 99.8, 99.9)


def draw(
    experiment: "Experiment", runs: list[dict[str, Any]], table: pd.DataFrame, folder: Path
) -> None:
    """Draw all figures."""
    title, baseline = experiment.title, experiment.baseline
    bars(table, folder / "accuracy_and_size.png", baseline=baseline, title=title)
    accuracy_against_size(table, folder / "accuracy_against_size.png", title=title)
    learning_curves(runs, experiment.order, folder / "learning_curves.png", title=title)


def bars(table: pd.DataFrame, path: Path, *, baseline: str, title: str) -> None:
    """Draw test accuracy, size and zeros in the activations of each row as bars, side by side.

    Args:
        table: A `tables.summary` with `gzip_bytes_mean` and `activation_sparsity_mean`.
        path: PNG to write.
        baseline: Row drawn as a line too.
        title: Says what was measured on what.
    """
    panels = {
        "test accuracy, %": ("test_accuracy", 1.0, "{:.2f}"),
        "gzip -9 of the .keras file, kB": ("gzip_bytes", 1e-3, "{:.0f}"),
        "zeros among the activations, %": ("activation_sparsity", 1.0, "{:.1f}"),
    }
    colours = colours_of(table["method"])
    places = np.arange(len(table))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 0.27 * len(table) + 1.1), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, (name, scale, form)) in zip(grid, panels.items(), strict=True):
            lengths = scale * table[f"{name}_mean"]
            drawn = axes.barh(
                places,
                lengths,
                0.7,
                xerr=scale * table[f"{name}_std"].fillna(0),
                color=[colours[method] for method in table["method"]],
                error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "0.45"},
            )
            axes.bar_label(
                drawn,
                [form.format(value) for value in lengths],
                padding=3,
                fontsize=7.5,
                # Legible where the line of the baseline passes below.
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            for level in lengths[table["row"] == baseline]:
                axes.axvline(level, color="black", linewidth=0.8, linestyle="--", zorder=0)
            axes.set_xlim(0, 1.25 * float(lengths.max()))
            axes.set_xlabel(label)
        grid[0].set_yticks(places, table["row"])
        grid[0].invert_yaxis()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        save(figure, path)


def accuracy_against_size(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw test accuracy against the packed size, both on log axes, and mark the Pareto front.

    The vertical axis is logarithmic in the error, so that 99 % and a failure fit on it; error bars
    are one standard deviation.

    Args:
        table: A `tables.summary` with `gzip_bytes_mean`.
        path: PNG to write.
        title: Says what was measured on what.
    """
    colours = colours_of(table["method"])
    sizes = table["gzip_bytes_mean"].to_numpy(float)
    errors = np.maximum(100 - table["test_accuracy_mean"].to_numpy(float), _LEAST_ERROR)
    spread = table["test_accuracy_std"].fillna(0).to_numpy(float)
    # Downwards not to zero, which a log axis does not have.
    down = np.minimum(spread, 0.9 * errors)
    front = on_front(sizes, errors)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 5.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(sizes.min() / 1.3, sizes.max() * 1.6)
        axes.set_ylim(1.3 * (errors + spread).max(), (errors - down).min() / 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
        axes.yaxis.set_major_locator(FixedLocator([100 - value for value in _ACCURACIES]))
        axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        order = np.flatnonzero(front)[np.argsort(sizes[front])]
        axes.step(
            sizes[order],
            errors[order],
            where="post",
            color="0.6",
            linewidth=1,
            zorder=0,
            label="Pareto front",
        )
        axes.plot(sizes[order], errors[order], "o", color="none", markeredgecolor="0.4", ms=10)
        for index, method in enumerate(table["method"]):
            axes.errorbar(
                sizes[index],
                errors[index],
                yerr=[[down[index]], [spread[index]]],
                color=colours[method],
                marker="o",
                markersize=4.5,
                elinewidth=1,
                capsize=2.5,
            )
        axes.set(
            xlabel="gzip -9 of the .keras file", ylabel="test accuracy, % (log error)", title=title
        )
        axes.grid(linewidth=0.3, alpha=0.6)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        label_points(
            axes,
            sizes,
            errors,
            table["row"].tolist(),
            [colours[method] for method in table["method"]],
        )
        save(figure, path)


def on_front(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return which points no other one beats: none is as good in both and better in one.

    Args:
        sizes: `(n,)`, less is better.
        errors: `(n,)`, less is better.

    Returns:
        `(n,)` booleans.

    Examples:
        >>> on_front(np.array([1, 2, 3]), np.array([0.5, 0.5, 0.1])).tolist()
        [True, False, True]
    """
    smaller = sizes[:, None] <= sizes
    better = errors[:, None] <= errors
    strictly = (sizes[:, None] < sizes) | (errors[:, None] < errors)
    return ~np.any(smaller & better & strictly, axis=0)
