"""Colours, lines and fonts of all plots, and how a plot is written."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from harness.atomic_files import replacing

# The palette of Okabe and Ito, which colour-blind readers can tell apart, and three more colours.
_COLOURS = (
    *("#000000", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0072B2"),
    *("#8B5A2B", "#882255", "#7F7F7F"),
)
# Errors, in percent, below this one are drawn as it on a logarithmic axis.
LEAST_ERROR = 0.05
_ACCURACIES = (0, 50, 80, 90, 95, 97, 98, 98.5, 99, 99.5, 99.8, 99.9)
LINES: Any = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "grid.linewidth": 0.3,
    "grid.alpha": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 150,
    "savefig.dpi": 150,
}
BAR_ERRORS: Any = {"elinewidth": 1, "capsize": 2}


@contextmanager
def new_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure, size in inches, and write it as a PNG at the end of the block."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with replacing(path) as part:
            figure.savefig(part, format="png")


def draw_points(axes: Axes, x: Any, y: Any, errors: Any, colour: str, **style: Any) -> None:
    """Draw points with error bars."""
    style = {"marker": "o", "linewidth": 1, "elinewidth": 1, "capsize": 2.5, **style}
    axes.errorbar(x, y, yerr=errors, color=colour, **style)


def log_error_axis(axes: Axes) -> None:
    """Make the vertical axis logarithmic in the error, in percent, and label it with accuracies.

    So both 99 % and a failed row fit. Draw `100 - accuracy`, and set limits with the larger error
    first.
    """
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([100 - value for value in _ACCURACIES]))
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("test accuracy, % (log error)")


def legend_right(figure: Figure, *entries: Any) -> None:
    """Draw one legend to the right of the plots."""
    figure.legend(*entries, loc="outside right center")


def colours_of(methods: Iterable[str]) -> dict[str, str]:
    """Return a colour for each method, in order of first appearance."""
    distinct = dict.fromkeys(methods)
    return {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(distinct)}


def numbers(values: Iterable[float | None]) -> np.ndarray:
    """Return values of a result file as an array, with NaN for null."""
    return np.array([np.nan if v is None else v for v in values], "float64")
