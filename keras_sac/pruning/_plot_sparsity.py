"""Plot the sparsity during training, and the sparsity of the schedule."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_sac.pruning._schedules import PruningSchedule
from keras_sac.pruning._sparsity_logger import SparsityLogger

if TYPE_CHECKING:
    import pandas as pd


def plot_sparsity(
    history: "pd.DataFrame | SparsityLogger",
    schedule: PruningSchedule | None = None,
    *,
    ax: Any = None,
) -> Any:
    """Plot the sparsity of each kernel over the steps, and that of the schedule.

    Args:
        history: a `SparsityLogger`, or its `history`, a table with the columns `step`, `path`,
            `weights` and `sparsity`.
        schedule: a `PruningSchedule` to plot as well, or `None`.
        ax: the `matplotlib.axes.Axes` to draw on. Defaults to the axes of a new figure.

    Returns:
        The `matplotlib.axes.Axes`.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `history` has no rows.

    Examples:
        >>> import pandas as pd
        >>> from keras_sac.pruning import PolynomialDecay
        >>> history = pd.DataFrame(
        ...     {"step": [1, 9], "path": "kernel", "weights": 10, "sparsity": [0.5, 0.8]}
        ... )
        >>> ax = plot_sparsity(history, PolynomialDecay(0.5, 0.8, 0, 9, frequency=1))
        >>> ax.get_ylabel()
        'sparsity'
    """
    if isinstance(history, SparsityLogger):
        history = history.history
    if history.empty:
        raise ValueError(
            "`history` must have at least one row. Received: a table with no rows. Pass a "
            "`SparsityLogger` after a `fit` with it in `callbacks`."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`plot_sparsity` needs matplotlib. Install it: pip install 'keras-sac[experiments]'"
        ) from error
    if ax is None:
        # Not pyplot, which may open windows and keeps figures in memory.
        ax = Figure(figsize=(6.4, 4.0), layout="constrained").subplots()
    for path, rows in history.groupby("path", sort=False):
        ax.plot(rows["step"], rows["sparsity"], marker=".", linewidth=1, label=path)
    total = history.assign(zeros=history["sparsity"] * history["weights"]).groupby("step").sum()
    ax.plot(
        total.index, total["zeros"] / total["weights"], color="black", label="all pruned kernels"
    )
    if schedule is not None:
        last = max(int(history["step"].max()), getattr(schedule, "end_step", 0))
        first = max(schedule.begin_step, 1)
        steps = np.unique(np.linspace(first, max(last, first), 200).astype("int32"))
        scheduled = [float(schedule(int(step))[1]) for step in steps]
        ax.plot(steps, scheduled, color="grey", linestyle="--", label="schedule")
    ax.set_xlabel("step")
    ax.set_ylabel("sparsity")
    ax.set_ylim(0.0, 1.0)
    ax.legend(fontsize="small")
    return ax
