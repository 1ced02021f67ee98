"""Plot the vectors of a basis as images."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from harness.plot_style import new_figure
from harness.rows import Trial
from harness.tables import Results
from keras_sac import bases

# Title of a kind of basis, and the function that makes it from a trial and a rank.
Kind = tuple[str, Callable[[Trial, int], bases.Basis]]


def basis_plots(kinds: dict[str, Kind]) -> dict[str, Callable[[Results, Path], None]]:
    """Return a plot per kind of basis, by file name.

    Args:
        kinds: title and function of each kind.
    """
    return {
        f"basis_{kind.replace('-', '_')}.png": partial(
            draw_basis, kind=kind, title=title, make=make
        )
        for kind, (title, make) in kinds.items()
    }


def draw_basis(
    results: Results,
    path: Path,
    *,
    kind: str,
    title: str,
    make: Callable[[Trial, int], bases.Basis],
) -> None:
    """Draw the basis that rows use for the first seed. An existing plot is kept.

    Args:
        results: nothing is drawn if no row has a `basis` of this kind.
        path: PNG to write.
        kind: kind of the basis.
        title: of the plot, before the label of the data.
        make: returns the basis for a trial and a rank.
    """
    runs = [run for run in results.runs if run["row_settings"].get("basis") == kind]
    if path.exists() or not runs or results.first_trial is None:
        return
    trial = results.first_trial()
    matrix = make(trial, max(run["row_settings"]["rank"] for run in runs)).matrix
    title = f"{title} · {runs[0]['data']['label']}"
    basis_images(matrix, trial.split.image_shape, path, title=title)


def basis_images(
    matrix: np.ndarray,
    image_shape: tuple[int, int, int],
    path: Path,
    *,
    title: str,
    count: int = 32,
) -> None:
    """Draw the leading basis vectors as images, in reading order, each on its own scale.

    Colour images are `0.5 + v / (2 max|v|)`, so grey is zero. Vectors with one channel are drawn
    from blue (negative) over white (zero) to red (positive).

    Args:
        matrix: `(in_dim, rank)`, where `in_dim` is the product of `image_shape`.
        image_shape: `(height, width, channels)`, with 1 or 3 channels.
        path: PNG to write.
        title: of the plot.
        count: largest number of vectors to draw.
    """
    shown = min(count, matrix.shape[1])
    columns = 8 if shown > 9 else math.ceil(math.sqrt(shown))
    rows = math.ceil(shown / columns)
    with new_figure(path, 0.85 * columns, 0.85 * rows + 0.35) as figure:
        for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            if index < shown:
                _draw_vector(axes, matrix[:, index].reshape(image_shape))
            else:
                axes.set_axis_off()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)


def _draw_vector(axes: Axes, image: np.ndarray) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.4, color="0.7")
    scaled = image / max(float(np.abs(image).max()), 1e-12)
    if image.shape[-1] == 3:
        axes.imshow(0.5 + scaled / 2, interpolation="nearest")
    else:
        axes.imshow(scaled[..., 0], cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
