"""Measure the size and the sparsity of a trained model: bytes, weights, activations, outputs."""

import gzip
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.splits import Split
from harness.training import EVALUATION_BATCH
from keras_sac import activation_sparsity

# Keras' type stubs allow only "auto".
_QUIET: Any = 0


def costs(model: keras.Model, split: Split) -> dict[str, Any]:
    """Measure a model that returns probabilities on the test data.

    Args:
        model: built model with one output per class.
        split: the data; only its test part is used.

    Returns:
        JSON values: the fractions `measured_accuracy`, `output_sparsity`, `activation_sparsity` (of
        all layers) and `activations` (of each layer), and the counts `nonzero_weights`,
        `file_bytes` and `gzip_bytes`.
    """
    outputs = model.predict(split.x_test, batch_size=EVALUATION_BATCH, verbose=_QUIET)
    table = activation_sparsity(model, split.x_test, batch_size=EVALUATION_BATCH)
    fractions = zip(table["layer"], table["sparsity"], strict=True)
    return {
        "measured_accuracy": float(np.mean(outputs.argmax(axis=1) == split.y_test)),
        "output_sparsity": float(np.mean(outputs == 0)),
        "activation_sparsity": table.attrs["total"]["sparsity"],
        "activations": {layer: float(value) for layer, value in fractions},
        "nonzero_weights": sum(int(np.count_nonzero(w)) for w in model.get_weights()),
        **file_sizes(model),
    }


def file_sizes(model: keras.Model) -> dict[str, int]:
    """Return the bytes of the `.keras` file of a model, and of that file after `gzip -9`.

    The file contains the date, so the second number may differ by a byte or so between calls.

    Args:
        model: uncompiled model; otherwise the file contains the state of the optimizer.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        content = path.read_bytes()
    # mtime=0: no time in the gzip header.
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    return {"file_bytes": len(content), "gzip_bytes": len(packed)}


def near_zero(model: keras.Model, below: float) -> float:
    """Return the fraction of the weights of trained kernels with a magnitude less than `below`.

    Args:
        model: built model. Trainable weights with at least two axes count as kernels.
        below: a magnitude.
    """
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_weights if len(v.shape) > 1]
    small = sum(int(np.count_nonzero(np.abs(kernel) < below)) for kernel in kernels)
    return small / sum(kernel.size for kernel in kernels)
