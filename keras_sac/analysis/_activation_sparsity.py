"""Count the zeros in the activations of a model."""

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
    """Count the exact zeros in the outputs of each layer on some data.

    `sparsity = zeros / activations`

    The model runs in inference mode (no dropout), one batch at a time, without being compiled; it
    is left as it was, states and losses included. A layer that is called several times counts with
    all its calls. A nested model or composite layer has a row only for outputs that no layer inside
    it puts out (a sum of branches, say), so that nothing is counted twice. The cells of recurrent
    layers and what `TimeDistributed` holds have none; inputs and layers without floating-point
    outputs have none either.

    Args:
        model: built; of any kind.
        data: inputs, as for `predict`: an array, a list, tuple or dict of arrays, or an iterable of
            batches (`tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset`).
        batch_size: samples that are computed at a time, at least 1; an iterable has its own.

    Returns:
        One row for each layer in the order of their first output: `layer` (its path in the model),
        `type`, `activations` (numbers in the output for one sample), `zeros` (of these, mean over
        the samples), `sparsity` (between 0 and 1). Where a backend compiles the call of a layer by
        itself (`keras.RematScope` or `keras.ops.scan` on JAX), its counts are NaN and missing in
        the total. `attrs["total"]` is a dict with the last three columns of all layers together.

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

    def see(call: Call) -> None:
        layer = call.layer
        floating = [each for each in call.own if keras.backend.is_float_dtype(_dtype(each))]
        if floating:
            fresh = _Count(paths[id(layer)], type(layer).__name__)
            count = counts.setdefault(id(layer), fresh)
            for tensor in floating:
                count.add(tensor)

    samples = 0
    with watched_calls(model, see):
        for inputs, size in input_batches(data, batch_size):
            model(inputs, training=False)
            samples += size
    return _table(list(counts.values()), samples)


@dataclasses.dataclass
class _Count:
    """Numbers and zeros that a layer has put out."""

    layer: str
    kind: str
    numbers: int = 0
    zeros: int = 0
    seen: bool = True

    def add(self, tensor: Any) -> None:
        if _backend.is_traced(tensor):
            self.seen = False
            return
        # Not on the device, where some kernels take the smallest numbers for zeros.
        values = keras.ops.convert_to_numpy(tensor)
        self.numbers += values.size
        self.zeros += values.size - int(np.count_nonzero(values))


def _table(counts: list[_Count], samples: int) -> "pd.DataFrame":
    seen = [count for count in counts if count.seen]
    total = _Count("", "", sum(c.numbers for c in seen), sum(c.zeros for c in seen))
    numbers = ("activations", "zeros", "sparsity")
    totals = {name: _row(total, samples)[name] for name in numbers}
    rows = [_row(count, samples) for count in counts]
    return table(rows, ["layer", "type", *numbers], totals)


def _row(count: _Count, samples: int) -> dict[str, Any]:
    unknown = float("nan")
    whole, rest = divmod(count.numbers, samples)
    # The batches of an iterable may differ in length.
    activations = count.numbers / samples if rest else whole
    return {
        "layer": count.layer,
        "type": count.kind,
        "activations": activations if count.seen else unknown,
        "zeros": count.zeros / samples if count.seen else unknown,
        "sparsity": count.zeros / count.numbers if count.seen and count.numbers else unknown,
    }


def _dtype(tensor: Any) -> str:
    return keras.backend.standardize_dtype(tensor.dtype)
