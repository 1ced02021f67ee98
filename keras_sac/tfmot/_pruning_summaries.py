"""Sparsity and thresholds for TensorBoard."""

import importlib.util
import os
from typing import Any

import keras
import numpy as np

from keras_sac.tfmot._wrap_optimizer import pruning_optimizer, state_of


class PruningSummaries(keras.callbacks.TensorBoard):
    """A `keras.callbacks.TensorBoard` that also writes how sparse each pruned kernel is.

    At the beginning of each epoch, and when the training ends, it writes for each of them
    `<path>/sparsity`, the share of weights that the mask leaves out, and `<path>/threshold`, the
    smallest magnitude that is kept (0 while nothing is left out), over the steps of the optimizer.
    They are in the folder `metrics` in `log_dir`.

    Args:
        log_dir: folder, not empty.
        update_freq: `"epoch"`, `"batch"` or a number of batches, for losses and metrics.
        **kwargs: passed to `keras.callbacks.TensorBoard`.

    Raises:
        ValueError: if `log_dir` is no path, or empty.
        ImportError: if TensorFlow is not installed: it writes the files, on every backend.

    Examples:
        >>> import tempfile
        >>> summaries = PruningSummaries(log_dir=tempfile.mkdtemp())
        >>> summaries.update_freq
        'epoch'
    """

    def __init__(self, log_dir: Any, update_freq: Any = "epoch", **kwargs: Any):
        if not isinstance(log_dir, str | os.PathLike) or not str(log_dir):
            raise ValueError(
                f"`log_dir` must be the path of a folder, not empty. Received: log_dir={log_dir!r}"
            )
        if importlib.util.find_spec("tensorflow") is None:
            raise ImportError(
                "`PruningSummaries` needs TensorFlow, which writes the files for TensorBoard also "
                "where Keras runs on another backend: `pip install tensorflow`. "
                "`keras_sac.pruning.SparsityLogger` does without."
            )
        super().__init__(log_dir=log_dir, update_freq=update_freq, **kwargs)
        self._metrics_writer: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Write how sparse the kernels are."""
        super().on_epoch_begin(epoch, logs)
        self._write()

    def on_train_end(self, logs: Any = None) -> None:
        """Write how sparse the kernels are in the end."""
        self._write()
        if self._metrics_writer is not None:
            self._metrics_writer.close()
            self._metrics_writer = None
        super().on_train_end(logs)

    def _write(self) -> None:
        source = pruning_optimizer(self.model) or state_of(self.model).loop
        if source is None or not getattr(source, "built", True):
            return
        if self._metrics_writer is None:
            folder = os.path.join(self.log_dir, "metrics")
            self._metrics_writer = self.summary.create_file_writer(folder)
        weights = {v.path: keras.ops.convert_to_numpy(v) for v in self.model.trainable_variables}
        step = self._step(source)
        with self._metrics_writer.as_default():
            for path, mask in source.masks.items():
                kept = np.abs(weights[path][mask])
                threshold = 0.0 if mask.all() else float(kept.min(initial=np.inf))
                self.summary.scalar(f"{path}/sparsity", 1.0 - mask.mean(), step=step)
                self.summary.scalar(f"{path}/threshold", threshold, step=step)
        self._metrics_writer.flush()

    def _step(self, source: Any) -> int:
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is None:
            return source.step
        return int(keras.ops.convert_to_numpy(optimizer.iterations))
