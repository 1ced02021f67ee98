"""What a finished model costs and how sparse it is: bytes, weights, activations, outputs."""

import gzip
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.splits import Split
from harness.training import EVALUATION_BATCH
from keras_sac import activation_sparsity

# Keras' stubs know "auto" only.
_QUIET: Any = 0


def costs(model: keras.Model, split: Split) -> dict[str, Any]:
    """Measure a model that gives probabilities; its zeros in activations and outputs on test data.

    Args:
        model: Built, with one output a class.
        split: Whose test part is used.

    Returns:
        Facts as JSON values: `measured_accuracy`, `output_sparsity`, `activation_sparsity` (of all
        layers) and `activations` (of each layer), between 0 and 1; `nonzero_weights`, of all
        weights; `file_bytes` and `gzip_bytes`.
    """
    outputs = model.predict(split.x_test, batch_size=EVALUATION_BATCH, verbose=_QUIET)
    table = activation_sparsity(model, split.x_test, batch_size=EVALUATION_BATCH)
    shares = zip(table["layer"], table["sparsity"], strict=True)
    return {
        "measured_accuracy": float(np.mean(outputs.argmax(axis=1) == split.y_test)),
        "output_sparsity": float(np.mean(outputs == 0)),
        "activation_sparsity": float(table["sparsity"].iloc[-1]),
        "activations": {layer: float(share) for layer, share in shares if layer != "total"},
        "nonzero_weights": sum(int(np.count_nonzero(w)) for w in model.get_weights()),
        **file_sizes(model),
    }


def file_sizes(model: keras.Model) -> dict[str, int]:
    """Return the bytes of a model's `.keras` file, and those that `gzip -9` makes of it.

    The file holds the date, so the second number changes by a byte or so from time to time.

    Args:
        model: Uncompiled; otherwise the state of the optimizer is counted too.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        content = path.read_bytes()
    # No time of its own in the header.
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    return {"file_bytes": len(content), "gzip_bytes": len(packed)}


def near_zero(model: keras.Model, below: float) -> float:
    """Return the share of the trained weights with at least two axes that are below in magnitude.

    Args:
        model: Built.
        below: A magnitude.
    """
    kernels = [keras.ops.convert_to_numpy(v) for v in model.trainable_weights if len(v.shape) > 1]
    small = sum(int(np.count_nonzero(np.abs(kernel) < below)) for kernel in kernels)
    return small / sum(kernel.size for kernel in kernels)
