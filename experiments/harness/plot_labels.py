"""Place text labels beside the points of a plot without overlaps."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

_FONT_SIZE = 8.0
_LINE = 1.3 * _FONT_SIZE
# Cost of a bad place, in points: a better place is taken if it is less than this farther away.
_COVERS_LABEL = 2000.0
_COVERS_POINT = 300.0
_OUTSIDE = 5000.0
_LEFT = 12.0


def label_points(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[str],
    half_heights: np.ndarray | None = None,
) -> None:
    """Write a label near each point, and connect it with a thin line if it is far away.

    Args:
        axes: the points are already drawn on it, with final limits and scales.
        x: `(n,)` in data units; likewise `y`.
        y: see `x`.
        texts: one label per point.
        colours: one colour per point.
        half_heights: `(n,)` half lengths of the error bars, in data units.
    """
    figure = axes.figure.canvas.figure
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    bars = np.zeros(len(x)) if half_heights is None else np.asarray(half_heights)
    low, middle, high = (
        axes.transData.transform(np.column_stack([x, y + sign * bars])) for sign in (-1, 0, 1)
    )
    margin = 3 * scale
    points = [Bbox([a - margin, b + margin]) for a, b in zip(low, high, strict=True)]
    inside = axes.get_window_extent()
    placed: list[Bbox] = []
    # From top to bottom, so that labels of points in one column keep their order.
    order: list[int] = np.lexsort((x, -y)).tolist()
    for index in order:
        label = axes.annotate(
            texts[index],
            (x[index], y[index]),
            xytext=(0, 0),
            textcoords="offset points",
            va="center",
            fontsize=_FONT_SIZE,
            color=colours[index],
            # Keeps the text readable on a line.
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
        extent = Text.get_window_extent(label)
        size = np.array([extent.width, extent.height])

        def box(offset, anchor=middle[index], size=size):
            left = anchor[0] + offset[0] * scale - (size[0] if offset[0] < 0 else 0)
            bottom = anchor[1] + offset[1] * scale - size[1] / 2
            return Bbox.from_bounds(left, bottom, *size)

        def cost(offset, box=box):
            area = box(offset)
            return (
                _COVERS_LABEL * area.count_overlaps(placed)
                + _COVERS_POINT * area.count_overlaps(points)
                + _OUTSIDE * (area.x0 < inside.x0 or area.x1 > inside.x1 or area.y0 < inside.y0)
                + abs(offset[0])
                + abs(offset[1])
                + _LEFT * (offset[0] < 0)
            )

        best = min(_offsets(), key=cost)
        placed.append(box(best))
        label.set(position=best, horizontalalignment="right" if best[0] < 0 else "left")
        if abs(best[0]) > 10 or abs(best[1]) > _LINE:
            line = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
            axes.annotate(
                "",
                (x[index], y[index]),
                xytext=(best[0] - np.sign(best[0]), best[1]),
                textcoords="offset points",
                arrowprops={**line, "color": colours[index]},
            )


def _offsets() -> Iterator[tuple[float, float]]:
    """Yield places around a point to try, as offsets in points of the edge of the label."""
    for distance in (7.0, 16.0, 28.0, 45.0):
        for line in np.arange(-8, 8.5, 0.5):
            yield distance, line * _LINE
            yield -distance, line * _LINE
