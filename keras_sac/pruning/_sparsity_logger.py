"""Log the sparsity of a model during training."""

import warnings
from typing import TYPE_CHECKING, Any

import keras

from keras_sac import _backend
from keras_sac._arguments import integer
from keras_sac._table import table
from keras_sac.pruning._pruning_optimizer import required_pruning_optimizer

if TYPE_CHECKING:
    import pandas as pd


class SparsityLogger(keras.callbacks.Callback):
    """Callback that logs the sparsity of the pruned kernels after each epoch.

    The logs get the entry `sparsity`, the fraction of zeros in the pruned kernels. The progress
    bar, `History`, `CSVLogger` and `TensorBoard` show it if they come after this callback in
    `callbacks`. The callback warns if the training ends before the schedule.

    Args:
        frequency: number of steps after which to add a record to `history`, at least 1. By default
            only the end of each epoch is recorded. Each record copies the pruned kernels to the
            host.

    Attributes:
        history: `pandas.DataFrame` with one row for each record and pruned kernel, and the columns
            `step` (number of updates so far), `path`, `weights` and `sparsity`.

    Raises:
        ValueError: if `frequency` is below 1; in `fit`, if the model is not compiled with a
            `PruningOptimizer`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.pruning import ConstantSparsity, PruningOptimizer
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        >>> model.compile(PruningOptimizer("sgd", ConstantSparsity(0.5, 1)), "mse")
        >>> x = np.ones((8, 4), "float32")
        >>> logs = model.fit(x, x, epochs=2, verbose=0, callbacks=[SparsityLogger()])
        >>> logs.history["sparsity"]
        [0.5, 0.5]
    """

    def __init__(self, frequency: int | None = None):
        super().__init__()
        self.frequency = None if frequency is None else integer("frequency", frequency, 1)
        self._records: list[dict[str, Any]] = []

    @property
    def history(self) -> "pd.DataFrame":
        """The records so far."""
        return table(self._records, ["step", "path", "weights", "sparsity"])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the model is compiled with a `PruningOptimizer`."""
        required_pruning_optimizer(self.model)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the sparsity every `frequency` steps."""
        if self.frequency is None or (batch + 1) % self.frequency:
            return
        _backend.sync_variables(self.model)
        self._record()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the sparsity, and add it to the logs."""
        sparsity = self._record()
        if logs is not None:
            logs["sparsity"] = sparsity

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn if the training ended before the schedule."""
        optimizer = required_pruning_optimizer(self.model)
        if not optimizer.built or not optimizer.pruning_step:
            return  # The optimizer itself warns.
        steps = optimizer.pruning_step
        # The refresh of step t comes after update t - 1.
        ends = {getattr(schedule, "end_step", -1) for schedule in optimizer.schedules}
        late = sorted(end for end in ends if end > steps + 1)
        if late:
            warnings.warn(
                f"The training ended after {steps} updates, but the schedule ends at step "
                f"{late[-1]}. The final sparsity was not reached. Choose `end_step` <= epochs * "
                "batches per epoch.",
                stacklevel=2,
            )

    def _record(self) -> float:
        """Add a record to the history, and return the sparsity of all pruned kernels together."""
        optimizer = required_pruning_optimizer(self.model)
        step = optimizer.pruning_step
        report = optimizer.report()
        pruned = report[report["pruned"]]
        # `on_train_batch_end` may have recorded the last step of the epoch already.
        if not self._records or self._records[-1]["step"] != step:
            for row in pruned.itertuples():
                self._records.append(
                    {
                        "step": step,
                        "path": row.path,
                        "weights": row.weights,
                        "sparsity": row.sparsity,
                    }
                )
        return float((pruned["sparsity"] * pruned["weights"]).sum() / pruned["weights"].sum())
