"""`PruningSummaries`: write sparsities and thresholds for TensorBoard."""

import importlib.util
import os
from typing import Any

import keras
import numpy as np

from keras_sac.pruning import pruning_optimizer
from keras_sac.tfmot._wrap_optimizer import state_of


class PruningSummaries(keras.callbacks.TensorBoard):
    """A `keras.callbacks.TensorBoard` that also writes the sparsity of each pruned kernel.

    At the beginning of each epoch and at the end of training the callback writes two values for
    each pruned kernel, over the steps of the optimizer: `<path>/sparsity`, the fraction of weights
    that the mask sets to zero, and `<path>/threshold`, the smallest magnitude that is kept (0 while
    nothing is pruned). The files are in the folder `metrics` in `log_dir`.

    Args:
        log_dir: path of a folder.
        update_freq: `"epoch"`, `"batch"` or a number of batches, for losses and metrics.
        **kwargs: passed to `keras.callbacks.TensorBoard`.

    Raises:
        ValueError: if `log_dir` is not a path, or empty.
        ImportError: if TensorFlow is not installed. It writes the files, on every backend.

    Examples:
        >>> import tempfile
        >>> summaries = PruningSummaries(log_dir=tempfile.mkdtemp())
        >>> summaries.update_freq
        'epoch'
    """

    def __init__(self, log_dir: Any, update_freq: Any = "epoch", **kwargs: Any):
        if not isinstance(log_dir, str | os.PathLike) or not str(log_dir):
            raise ValueError(
                f"`log_dir` must be the path of a folder. Received: log_dir={log_dir!r}"
            )
        if importlib.util.find_spec("tensorflow") is None:
            raise ImportError(
                "`PruningSummaries` needs TensorFlow to write files for TensorBoard, also on other "
                "backends: `pip install tensorflow`. Or use `keras_sac.pruning.SparsityLogger`, "
                "which needs no TensorFlow."
            )
        super().__init__(log_dir=log_dir, update_freq=update_freq, **kwargs)
        self._metrics_writer: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Write the sparsity of the kernels."""
        super().on_epoch_begin(epoch, logs)
        self._write()

    def on_train_end(self, logs: Any = None) -> None:
        """Write the final sparsity of the kernels."""
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
