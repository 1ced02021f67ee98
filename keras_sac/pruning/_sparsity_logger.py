"""Watching a model become sparse."""

import warnings
from typing import TYPE_CHECKING, Any

import keras

from keras_sac import _backend
from keras_sac._table import table
from keras_sac.pruning._pruning_optimizer import PruningOptimizer

if TYPE_CHECKING:
    import pandas as pd


class SparsityLogger(keras.callbacks.Callback):
    """Writes the sparsity of the pruned weights into the logs of each epoch.

    The logs then have `sparsity`, the share of zeros among the pruned weights, for the progress
    bar, `History`, `CSVLogger` and `TensorBoard` (put those after it in the list of callbacks).
    At the end of the training it warns if the schedule was not yet at its end.

    Args:
        frequency: also record `history` each so many steps; `None` for epochs alone. Each record
            copies the pruned weights to the host.

    Attributes:
        history: `pandas.DataFrame` with a row for each pruned kernel and record: `step` (updates so
            far), `path`, `weights`,
            `sparsity`.

    Raises:
        ValueError: if `frequency` is below 1; in `fit`, if the model is not compiled with a
            `PruningOptimizer`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.pruning import ConstantSparsity
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        >>> model.compile(PruningOptimizer("sgd", ConstantSparsity(0.5, 1)), "mse")
        >>> x = np.ones((8, 4), "float32")
        >>> logs = model.fit(x, x, epochs=2, verbose=0, callbacks=[SparsityLogger()])
        >>> logs.history["sparsity"]
        [0.5, 0.5]
    """

    def __init__(self, frequency: int | None = None):
        super().__init__()
        if frequency is not None and (isinstance(frequency, bool) or frequency < 1):
            raise ValueError(f"`frequency` must be >= 1 or None. Received: frequency={frequency!r}")
        self.frequency = frequency
        self._records: list[dict[str, Any]] = []

    @property
    def history(self) -> "pd.DataFrame":
        """What was recorded."""
        return table(self._records, ["step", "path", "weights", "sparsity"])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that there is something to watch."""
        self._optimizer()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Record, if the frequency asks for it."""
        if self.frequency is None or (batch + 1) % self.frequency:
            return
        _backend.sync_variables(self.model)
        self._record()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record, and write `sparsity` into the logs."""
        total = self._record()
        if logs is not None:
            logs["sparsity"] = total

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Warn if the training ended before the schedule did."""
        optimizer = self._optimizer()
        steps = optimizer.pruning_step
        # The refresh of step t comes right after update t - 1.
        ends = {getattr(schedule, "end_step", -1) for schedule in optimizer.schedules}
        late = sorted(end for end in ends if end > steps + 1)
        if late:
            warnings.warn(
                f"The training ended after {steps} updates, but the schedule goes on to step "
                f"{late[-1]}: its final sparsity was not reached. Choose `end_step` <= epochs x "
                "batches in an epoch.",
                stacklevel=2,
            )

    def _optimizer(self) -> PruningOptimizer:
        optimizer = self.model.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = optimizer.inner_optimizer
        if not isinstance(optimizer, PruningOptimizer):
            raise ValueError(
                "`SparsityLogger` needs a model compiled with a `PruningOptimizer`. Received the "
                f"optimizer: {type(optimizer).__name__}. For any other model use "
                "`keras_sac.pruning.sparsity(model)`."
            )
        return optimizer

    def _record(self) -> float:
        optimizer = self._optimizer()
        step = optimizer.pruning_step
        found = optimizer.report()
        found = found[found["pruned"]]
        # The end of an epoch may be a step that was just recorded.
        known = bool(self._records) and self._records[-1]["step"] == step
        for row in () if known else found.itertuples():
            self._records.append(
                {
                    "step": step,
                    "path": row.path,
                    "weights": row.weights,
                    "sparsity": row.sparsity,
                }
            )
        return float((found["sparsity"] * found["weights"]).sum() / found["weights"].sum())
