"""What the figures share: colours, lines, type, and how they are written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision, and three more.
_COLOURS = (
    *("#000000", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#0072B2"),
    *("#8B5A2B", "#882255", "#7F7F7F"),
)
LINES: Any = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.dpi": 150,
    "savefig.dpi": 150,
}


def colours_of(methods: Iterable[str]) -> dict[str, str]:
    """Return a colour for each method, in the order in which they first come."""
    distinct = dict.fromkeys(methods)
    return {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(distinct)}


def numbers(values: Iterable[float | None]) -> np.ndarray:
    """Return the values of a result file, NaN for null."""
    return np.array([np.nan if v is None else v for v in values], "float64")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part.png")
    try:
        figure.savefig(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
