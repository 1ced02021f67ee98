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

# Returns the matrix `(in_dim, rank)` of a basis for a trial, a kind and a rank.
Make = Callable[[Trial, str, int], np.ndarray]


def basis_plots(titles: dict[str, str], make: Make) -> dict[str, Callable[[Results, Path], None]]:
    """Return a plot for each kind of basis, by file name, for `Experiment(plots=...)`."""
    return {
        f"basis_{kind.replace('-', '_')}.png": partial(_draw_basis, kind, title, make)
        for kind, title in titles.items()
    }


def _draw_basis(kind: str, title: str, make: Make, results: Results, path: Path) -> None:
    """Draw the basis of the first seed if a row uses this kind. An existing plot is kept."""
    runs = [run for run in results.runs if run["row_settings"].get("basis") == kind]
    if path.exists() or not runs or results.first_trial is None:
        return
    trial = results.first_trial()
    matrix = make(trial, kind, max(run["row_settings"]["rank"] for run in runs))
    title = f"{title} · {runs[0]['data']['label']}"
    basis_images(matrix, trial.split.image_shape, path, title)


def basis_images(
    matrix: np.ndarray, image_shape: tuple[int, int, int], path: Path, title: str, count: int = 32
) -> None:
    """Draw the first `count` columns of a matrix as images, each on its own scale.

    Colour images are `0.5 + v / (2 max|v|)`, so grey is zero. Vectors with one channel are drawn
    from blue (negative) over white (zero) to red (positive).
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
