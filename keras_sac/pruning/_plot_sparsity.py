"""The schedule against the sparsity that was reached."""

from typing import TYPE_CHECKING, Any

import numpy as np

from keras_sac.pruning._schedules import PruningSchedule

if TYPE_CHECKING:
    import pandas as pd


def plot_sparsity(
    history: "pd.DataFrame", schedule: PruningSchedule | None = None, *, ax: Any = None
) -> Any:
    """Plot the sparsity of each kernel over the steps, and what the schedule asks for.

    Args:
        history: `SparsityLogger.history`, with the columns `step`, `path`, `weights`, `sparsity`.
        schedule: its curve is drawn too; `None` leaves it out.
        ax: a `matplotlib.axes.Axes` to draw on; by default a new figure.

    Returns:
        The axes.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if nothing was recorded.

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
    if history.empty:
        raise ValueError(
            "There is nothing to plot: `history` has no rows. Pass `SparsityLogger.history` after "
            "a `fit` with the logger among its callbacks."
        )
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`plot_sparsity` needs matplotlib: pip install 'keras-sac[experiments]'"
        ) from error
    if ax is None:
        # Not pyplot: a library must not open windows, nor keep figures alive.
        ax = Figure(figsize=(6.4, 4.0), layout="constrained").subplots()
    for path, rows in history.groupby("path", sort=False):
        ax.plot(rows["step"], rows["sparsity"], marker=".", linewidth=1, label=path)
    whole = history.assign(zeros=history["sparsity"] * history["weights"]).groupby("step").sum()
    ax.plot(
        whole.index, whole["zeros"] / whole["weights"], color="black", label="all pruned kernels"
    )
    if schedule is not None:
        last = max(int(history["step"].max()), getattr(schedule, "end_step", 0))
        first = max(schedule.begin_step, 1)
        steps = np.unique(np.linspace(first, max(last, first), 200).astype("int32"))
        asked = [float(schedule(int(step))[1]) for step in steps]
        ax.plot(steps, asked, color="grey", linestyle="--", label="schedule")
    ax.set_xlabel("step")
    ax.set_ylabel("sparsity")
    ax.set_ylim(0.0, 1.0)
    ax.legend(fontsize="small")
    return ax
