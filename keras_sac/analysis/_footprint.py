"""`footprint` and `compare`: what a model takes, layer by layer and against others."""

import math
import warnings
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import check_model, layer_paths, own_weights
from keras_sac._sparse_array import encoded_size, entropy_bound
from keras_sac._table import table
from keras_sac.analysis._macs import Macs, macs_of

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = ("parameters", "trainable", "nonzeros")
_OPERATIONS = ("macs", "effective_macs")
# Bytes that are compressed at a time: what comes out of them is only counted.
_CHUNK = 1 << 20
_BYTES = ("bytes", "gzip_bytes", "sparse_bytes", "bound_bytes")


def footprint(
    model: keras.Model,
    sample: Any = None,
    *,
    compression: bool = True,
) -> "pd.DataFrame":
    """Count parameters, zeros, operations and bytes of a model, layer by layer.

    `macs = Σ kernels size x uses`, `effective_macs = Σ kernels nonzeros x uses`, a sample: a kernel
    of a dense layer is used once (at each position of the axes between), one of a convolution at
    each position of its output, one of a recurrent layer at each step; basis and learner count as
    the layer multiplies them. Attention adds its products of queries, keys and values. Additions,
    activations, normalisation and pooling are not counted, nor are products outside of the layer
    that has the weights (`keras.ops.matmul` in the `call` of a model) or without any (`Dot`).
    What a `TimeDistributed` or an `RNN` holds counts in its row, once a step.
    `bound_bytes = Σ (n H(s) / 8 + itemsize nnz)` for weights with two axes or more, at the share
    `s` of zeros, and `itemsize n` for the others.

    Args:
        model: built. It is left as it is.
        sample: inputs, an array `(samples, ...)` or a structure of arrays as the model takes it;
            needed where the model leaves an axis open.
        compression: `False` leaves `gzip_bytes` and `sparse_bytes` out, which take time.

    Returns:
        One row for each layer with weights or operations: `layer`, `type`, `parameters`,
        `trainable`, `nonzeros`, `sparsity`, `macs`, `effective_macs` (`<NA>` for layers of unknown
        classes, with a warning), `bytes` (of the weights as they are), `gzip_bytes` (of these,
        level 9), `sparse_bytes` (in the file of `save_sparse`), `bound_bytes`. Shared weights count
        where they come first. `attrs["total"]` is a dict with the totals of the columns (`None`
        for operations that are not known).

    Raises:
        ValueError: if the model is not built.

    Examples:
        >>> import keras
        >>> from keras_sac import footprint
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="last")])
        >>> found = footprint(model).set_index("layer")
        >>> found.loc["last", ["parameters", "macs", "bytes"]].tolist()
        [36, 32, 144]

    Reference:
        Shannon, 1948, "A Mathematical Theory of Communication".
    """
    check_model(model)
    try:
        operations = macs_of(model, sample)
    except ValueError as error:
        if sample is not None:
            raise
        warnings.warn(f"The operations are not counted. {error}", stacklevel=2)
        operations = None
    rows: list[dict[str, Any]] = []
    known: set[int] = set()
    for path, layer in layer_paths(model).items():
        weights = [each for each in own_weights(layer) if id(each) not in known]
        known |= {id(each) for each in weights}
        counted = Macs(None, None) if operations is None else operations.get(id(layer), Macs())
        if weights or (operations and counted.dense != 0):
            rows.append(
                {
                    "layer": path,
                    "type": type(layer).__name__,
                    **_of_weights(weights, compression),
                    "macs": counted.dense,
                    "effective_macs": counted.effective,
                }
            )
    if operations is not None:
        unknown = [f"{row['layer']} ({row['type']})" for row in rows if row["macs"] is None]
        if unknown:
            warnings.warn(
                f"The operations of {', '.join(unknown)} are not known. Describe their classes by "
                "`keras_sac.register_layer(LayerClass, kind)`.",
                stacklevel=2,
            )
    return _with_total(rows, compression)


def compare(
    models: Mapping[str, keras.Model], sample: Any = None, **options: Any
) -> "pd.DataFrame":
    """Compare what several models take.

    Args:
        models: name -> built model.
        sample: as for `footprint`, of which this shows the totals.
        **options: of `footprint`.

    Returns:
        One row for each model with its totals, and with their ratios to those of the first:
        `parameters_ratio`, `effective_macs_ratio`, `bytes_ratio`, `sparse_bytes_ratio` and so on.

    Raises:
        ValueError: if there is no model, or one is not built.

    Examples:
        >>> import keras
        >>> from keras_sac import SACDense, compare
        >>> dense = keras.Sequential([keras.Input((32,)), keras.layers.Dense(32)])
        >>> thin = keras.Sequential([keras.Input((32,)), SACDense(32, "random", rank=4)])
        >>> float(compare({"dense": dense, "thin": thin}).loc["thin", "macs_ratio"])
        0.25
    """
    if not isinstance(models, Mapping) or not models:
        received = type(models).__name__ if models else "none"
        raise ValueError(f"`models` must be a dict of names and models. Received {received}.")
    rows = [
        {"model": name, **footprint(model, sample, **options).attrs["total"]}
        for name, model in models.items()
    ]
    found = table(rows).set_index("model")
    for column in [c for c in found.columns if c != "sparsity"]:
        found[f"{column}_ratio"] = found[column].astype("Float64") / found[column].iloc[0]
    return found


def _of_weights(weights: list[keras.Variable], compression: bool) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys((*_COUNTS, *_BYTES), 0)
    packer, packed = zlib.compressobj(9, wbits=31), 0
    for weight in weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        nonzeros = int(np.count_nonzero(values))
        found["parameters"] += values.size
        found["trainable"] += values.size if weight.trainable else 0
        found["nonzeros"] += nonzeros
        found["bytes"] += values.nbytes
        if values.ndim > 1:
            found["bound_bytes"] += entropy_bound(values.size, nonzeros, values.itemsize)
        else:
            found["bound_bytes"] += values.nbytes
        if compression:
            content = values.reshape(-1).view("uint8").data
            for start in range(0, len(content), _CHUNK):
                packed += len(packer.compress(content[start : start + _CHUNK]))
            found["sparse_bytes"] += encoded_size(values)
    found["gzip_bytes"] = packed + len(packer.flush()) if weights else 0
    return found


def _with_total(rows: list[dict[str, Any]], compression: bool) -> "pd.DataFrame":
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in (*_COUNTS, *_BYTES)}
    for name in _OPERATIONS:
        values = [row[name] for row in rows]
        total[name] = None if None in values else sum(values)
    kept = [*_BYTES] if compression else ["bytes", "bound_bytes"]
    for each in (*rows, total):
        each["sparsity"] = (
            1 - each["nonzeros"] / each["parameters"] if each["parameters"] else math.nan
        )
        each["bound_bytes"] = math.ceil(each["bound_bytes"])
        for name in _OPERATIONS:
            each[name] = None if each[name] is None else round(each[name])
    numbers = [*_COUNTS, "sparsity", *_OPERATIONS, *kept]
    found = table(rows, ["layer", "type", *numbers], {name: total[name] for name in numbers})
    for name in _OPERATIONS:
        found[name] = found[name].astype("Int64")
    return found
