"""Figures made from the table and the result files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from harness.labels import label_points
from harness.style import LINES, STYLE, colours_of, numbers, save


def accuracy_against_parameters(
    table: pd.DataFrame, path: Path, *, baseline: str, title: str
) -> None:
    """Draw test accuracy against trained parameters, one standard deviation as error bars.

    Args:
        table: A `tables.summary`.
        path: PNG to write.
        baseline: Row drawn as a reference line too.
        title: Says what was measured on what.
    """
    colours = colours_of(table["method"])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 4.8), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        low, high = np.percentile(table["trainable"].to_numpy(float), [0, 100])
        axes.set_xlim(low / 1.5, high * max(1.6, (high / low) ** 0.15))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(xlabel="trained parameters", ylabel="test accuracy, %", title=title)
        for method, group in table.groupby("method", sort=False):
            group = group.sort_values("trainable")
            axes.errorbar(
                group["trainable"],
                group["test_accuracy_mean"],
                yerr=group["test_accuracy_std"].fillna(0),
                color=colours[method],
                marker="o",
                markersize=4.5,
                linewidth=1,
                elinewidth=1,
                capsize=2.5,
            )
        reference = table.loc[table["row"] == baseline, "test_accuracy_mean"]
        for level in reference:
            axes.axhline(level, color=colours[baseline], linewidth=0.8, linestyle="--", zorder=0)
        axes.grid(axis="y", linewidth=0.3, alpha=0.6)
        label_points(
            axes,
            table["trainable"].to_numpy(float),
            table["test_accuracy_mean"].to_numpy(float),
            table["row"].tolist(),
            [colours[method] for method in table["method"]],
            table["test_accuracy_std"].fillna(0).to_numpy(float),
        )
        save(figure, path)


def learning_curves(
    runs: Sequence[dict[str, Any]], order: Sequence[str], path: Path, *, title: str
) -> None:
    """Draw training loss and validation accuracy over the epochs, means over the seeds.

    Args:
        runs: Contents of result files.
        order: Names of the rows, in the order of the legend.
        path: PNG to write.
        title: Says what was measured on what.
    """
    by_row = {name: [run for run in runs if run["row"] == name] for name in order}
    by_row = {name: group for name, group in by_row.items() if group}
    methods = [group[0]["row_settings"]["method"] for group in by_row.values()]
    colours, used = colours_of(methods), dict.fromkeys(methods, 0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
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
        left.set(xlabel="epoch", ylabel="training loss", title=title)
        right.set(xlabel="epoch", ylabel="validation accuracy, %")
        for axes in (left, right):
            axes.grid(linewidth=0.3, alpha=0.6)
            axes.xaxis.get_major_locator().set_params(integer=True)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
        save(figure, path)


def basis_images(
    matrix: np.ndarray,
    image_shape: tuple[int, int, int],
    path: Path,
    *,
    title: str,
    count: int = 32,
) -> None:
    """Draw the leading basis vectors as images, in reading order.

    A colour image is `0.5 + v / (2 max|v|)`, so grey is zero; a vector of one channel is drawn
    blue (negative) to red (positive), white being zero. Each vector has its own scale.

    Args:
        matrix: `(in_dim, rank)` with `in_dim` the product of `image_shape`.
        image_shape: `(height, width, channels)`, with 1 or 3 channels.
        path: PNG to write.
        title: Printed above the grid.
        count: Vectors to draw at most.
    """
    shown = min(count, matrix.shape[1])
    columns = 8 if shown > 9 else math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.85 * columns, 0.85 * rows + 0.35), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index < shown:
                _draw_vector(axes, matrix[:, index].reshape(image_shape))
            else:
                axes.set_axis_off()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
        save(figure, path)


def _draw_vector(axes: Axes, image: np.ndarray) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color="0.7")
    scaled = image / max(float(np.abs(image).max()), 1e-12)
    if image.shape[-1] == 3:
        axes.imshow(0.5 + scaled / 2, interpolation="nearest")
    else:
        axes.imshow(scaled[..., 0], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
