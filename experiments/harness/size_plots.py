"""Plots of accuracy against the size of a model, with the Pareto front.

Each function draws results to a PNG. The table needs the counts `gzip_bytes`, and for
`accuracy_and_size` also the fractions `activation_sparsity`. Error bars are one standard deviation
over the seeds.
"""

from pathlib import Path

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from harness.plot_labels import label_points
from harness.plot_style import (
    BAR_ERRORS,
    LEAST_ERROR,
    colours_of,
    draw_points,
    log_error_axis,
    new_figure,
)
from harness.tables import Results

# Label -> column of the table, scale, format.
_PANELS = {
    "test accuracy, %": ("test_accuracy", 1.0, "{:.2f}"),
    "gzip -9 of the .keras file, kB": ("gzip_bytes", 1e-3, "{:.0f}"),
    "zeros among the activations, %": ("activation_sparsity", 1.0, "{:.1f}"),
}


def accuracy_and_size(results: Results, path: Path) -> None:
    """Draw accuracy, size and zero activations of each row as bars, and the baseline as a line."""
    table = results.table
    colours = colours_of(table["method"])
    places = np.arange(len(table))
    with new_figure(path, 9.5, 0.27 * len(table) + 1.1) as figure:
        grid = figure.subplots(1, len(_PANELS), sharey=True, squeeze=False)[0]
        for axes, (label, (name, scale, form)) in zip(grid, _PANELS.items(), strict=True):
            lengths = scale * table[f"{name}_mean"]
            drawn = axes.barh(
                places,
                lengths,
                0.7,
                xerr=scale * table[f"{name}_std"].fillna(0),
                color=[colours[method] for method in table["method"]],
                error_kw={**BAR_ERRORS, "ecolor": "0.45"},
            )
            axes.bar_label(
                drawn,
                [form.format(value) for value in lengths],
                padding=3,
                fontsize=7.5,
                # Keeps the text readable on the line of the baseline.
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
            for level in lengths[table["row"] == results.baseline]:
                axes.axvline(level, color="black", linewidth=0.8, linestyle="--", zorder=0)
            axes.set_xlim(0, 1.25 * float(lengths.max()))
            axes.set_xlabel(label)
        grid[0].set_yticks(places, table["row"])
        grid[0].invert_yaxis()
        figure.suptitle(results.title, x=0.01, ha="left", fontsize=9)


def accuracy_against_size(results: Results, path: Path) -> None:
    """Draw test accuracy against the compressed size and mark the Pareto front.

    Both axes are logarithmic, the vertical one in the error, so that both 99 % and a failed row
    fit.
    """
    table = results.table
    by_method = colours_of(table["method"])
    colours = [by_method[method] for method in table["method"]]
    sizes = table["gzip_bytes_mean"].to_numpy(float)
    errors = np.maximum(100 - table["test_accuracy_mean"].to_numpy(float), LEAST_ERROR)
    spread = table["test_accuracy_std"].fillna(0).to_numpy(float)
    # A log axis has no zero, so error bars must end above it.
    down = np.minimum(spread, 0.9 * errors)
    front = on_front(sizes, errors)
    order = np.flatnonzero(front)[np.argsort(sizes[front])]
    with new_figure(path, 7.5, 5.2) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        log_error_axis(axes)
        axes.set_xlim(sizes.min() / 1.3, sizes.max() * 1.6)
        axes.set_ylim(1.3 * (errors + spread).max(), (errors - down).min() / 1.3)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
        axes.xaxis.set_minor_locator(NullLocator())
        line = {"color": "0.6", "linewidth": 1, "zorder": 0, "label": "Pareto front"}
        axes.step(sizes[order], errors[order], where="post", **line)
        axes.plot(sizes[order], errors[order], "o", color="none", markeredgecolor="0.4", ms=10)
        for index, colour in enumerate(colours):
            bars = [[down[index]], [spread[index]]]
            draw_points(axes, sizes[index], errors[index], bars, colour, markersize=4.5)
        axes.set(
            xlabel="gzip -9 of the .keras file",
            title=results.title,
        )
        axes.grid()
        axes.legend(loc="lower right")
        label_points(axes, sizes, errors, table["row"].tolist(), colours)


def on_front(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return which points are on the Pareto front.

    A point is on the front if no other point is at least as good in both values and better in one.

    Args:
        sizes: `(n,)`, smaller is better.
        errors: `(n,)`, smaller is better.

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
