"""Count the zeros in the activations of each layer of a model."""

import dataclasses
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac._arguments import integer
from keras_sac._model import Call, check_model, input_batches, layer_paths, watched_calls
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd


def activation_sparsity(model: keras.Model, data: Any, *, batch_size: int = 256) -> "pd.DataFrame":
    """Count the exact zeros in the outputs of each layer for given inputs.

    `sparsity = zeros / activations`

    The model runs in inference mode (no dropout), batch by batch and not compiled. Its states and
    losses are unchanged afterwards. A layer that is called several times is counted for all calls.
    A nested model or composite layer only has a row for outputs that no layer inside it returns,
    such as a sum of branches, so that nothing is counted twice. There are no rows for inputs, for
    layers without floating-point outputs, for the cells of recurrent layers, and for the layers
    inside `TimeDistributed`.

    Args:
        model: a built model of any kind.
        data: inputs as for `predict`: an array, a list, tuple or dict of arrays, or an iterable of
            batches (`tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset`).
        batch_size: number of samples in a batch, at least 1. Not used for an iterable of batches.

    Returns:
        A table with one row for each layer, in the order of the first outputs, and the columns
        `layer` (path in the model), `type`, `activations` (output entries for one sample), `zeros`
        (zero entries for one sample, mean over the samples) and `sparsity` (between 0 and 1). The
        counts are NaN, and not in the total, for a layer whose call the backend compiles
        (`keras.RematScope` or `keras.ops.scan` on JAX). `attrs["total"]` is a dict with the last
        three columns of all layers together.

    Raises:
        ValueError: if the model is not built, or `data` has no samples or cannot be read.

    Examples:
        >>> layers = [keras.Input((2,)), keras.layers.ReLU(), keras.layers.Dense(1)]
        >>> x = np.array([[1.0, -1.0], [-1.0, -1.0]])
        >>> table = activation_sparsity(keras.Sequential(layers), x)
        >>> table["type"].tolist(), table["zeros"].tolist()[:1], table["sparsity"].tolist()[:1]
        (['ReLU', 'Dense'], [1.5], [0.75])
    """
    check_model(model)
    batch_size = integer("batch_size", batch_size, least=1)
    counts: dict[int, _Count] = {}
    paths = {id(layer): path for path, layer in layer_paths(model).items()}

    def count_zeros(call: Call) -> None:
        layer = call.layer
        tensors = [each for each in call.own if keras.backend.is_float_dtype(_dtype(each))]
        if tensors:
            initial = _Count(paths[id(layer)], type(layer).__name__)
            count = counts.setdefault(id(layer), initial)
            for tensor in tensors:
                count.add(tensor)

    samples = 0
    with watched_calls(model, count_zeros):
        for inputs, size in input_batches(data, batch_size):
            model(inputs, training=False)
            samples += size
    return _table(list(counts.values()), samples)


@dataclasses.dataclass
class _Count:
    """Number of entries and zeros in the outputs of a layer so far."""

    layer: str
    kind: str
    entries: int = 0
    zeros: int = 0
    known: bool = True

    def add(self, tensor: Any) -> None:
        if _backend.is_traced(tensor):
            self.known = False
            return
        # With NumPy, not on the device: some device kernels flush subnormal numbers to zero.
        values = keras.ops.convert_to_numpy(tensor)
        self.entries += values.size
        self.zeros += values.size - int(np.count_nonzero(values))


def _table(counts: list[_Count], samples: int) -> "pd.DataFrame":
    known = [count for count in counts if count.known]
    total = _Count("", "", sum(c.entries for c in known), sum(c.zeros for c in known))
    columns = ("activations", "zeros", "sparsity")
    totals = {name: _row(total, samples)[name] for name in columns}
    rows = [_row(count, samples) for count in counts]
    return table(rows, ["layer", "type", *columns], totals)


def _row(count: _Count, samples: int) -> dict[str, Any]:
    unknown = float("nan")
    quotient, remainder = divmod(count.entries, samples)
    # An integer, unless the batches of an iterable have outputs of different lengths.
    activations = count.entries / samples if remainder else quotient
    return {
        "layer": count.layer,
        "type": count.kind,
        "activations": activations if count.known else unknown,
        "zeros": count.zeros / samples if count.known else unknown,
        "sparsity": count.zeros / count.entries if count.known and count.entries else unknown,
    }


def _dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)
