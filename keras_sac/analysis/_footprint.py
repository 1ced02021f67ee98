"""Count parameters, operations and bytes of a model layer by layer, and compare models."""

import math
import warnings
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import check_model, describe, layer_paths, own_weights
from keras_sac._sparse_array import encoded_size, entropy_bound
from keras_sac._table import table
from keras_sac.analysis._macs import Macs, macs_of

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = ("parameters", "trainable", "nonzeros")
_OPERATIONS = ("macs", "effective_macs")
# Number of bytes to compress at a time, which limits the memory for the output.
_CHUNK = 1 << 20
_BYTES = ("bytes", "gzip_bytes", "sparse_bytes", "bound_bytes")


def footprint(
    model: keras.Model,
    sample: Any = None,
    *,
    compression: bool = True,
) -> "pd.DataFrame":
    """Count parameters, zeros, operations and bytes of a model, layer by layer.

    `macs = Σ kernels size x uses` and `effective_macs = Σ kernels nonzeros x uses`, for one sample.
    A dense layer uses its kernel once for each position of the middle axes, a convolution once for
    each output position, a recurrent layer once for each step. The basis and the learner of a SAC
    layer are counted as the layer multiplies by them. Attention adds the products of queries, keys
    and values. Additions, activations, normalization and pooling are not counted. Neither are
    products outside the layer that owns the weights (`keras.ops.matmul` in the `call` of a model)
    or without weights (`Dot`). Layers inside `TimeDistributed` and `RNN` are counted in the row of
    that layer, for all steps.

    `bound_bytes = Σ (n H(s) / 8 + itemsize nnz)` for weights with at least two axes, where `s` is
    the fraction of zeros, and `itemsize n` for other weights.

    Args:
        model: a built model; not changed.
        sample: inputs of the model, an array of shape `(n_samples, ...)` or a structure of arrays.
            Required if the shape of the inputs has open axes besides the batch axis.
        compression: whether to compute `gzip_bytes` and `sparse_bytes`, which takes time.

    Returns:
        A table with one row for each layer with weights or operations and the columns `layer`,
        `type`, `parameters`, `trainable`, `nonzeros`, `sparsity`, `macs`, `effective_macs` (both
        `<NA>` for unknown layer classes, with a warning), `bytes` (of the weights), `gzip_bytes`
        (after gzip, level 9), `sparse_bytes` (in the file of `save_sparse`) and `bound_bytes`.
        Shared weights are counted in the first layer that has them. Indices, integers of two bytes
        or more, count in bytes only; a quantized kernel counts as the kernel that it stands for.
        `attrs["total"]` is a dict with the totals of the columns, `None` for unknown operations.

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
    counted_weights: set[int] = set()
    for path, layer in layer_paths(model).items():
        weights = [each for each in own_weights(layer) if id(each) not in counted_weights]
        counted_weights |= {id(each) for each in weights}
        macs = Macs(None, None) if operations is None else operations.get(id(layer), Macs())
        if weights or (operations and macs.dense != 0):
            rows.append(
                {
                    "layer": path,
                    "type": type(layer).__name__,
                    **_count_weights(layer, weights, compression),
                    "macs": macs.dense,
                    "effective_macs": macs.effective,
                }
            )
    if operations is not None:
        unknown = [f"{row['layer']} ({row['type']})" for row in rows if row["macs"] is None]
        if unknown:
            warnings.warn(
                f"The operations of {', '.join(unknown)} are not known. Describe the layer class "
                "with `keras_sac.register_layer(LayerClass, kind)`.",
                stacklevel=2,
            )
    return _with_total(rows, compression)


def compare(
    models: Mapping[str, keras.Model], sample: Any = None, **options: Any
) -> "pd.DataFrame":
    """Compare the totals of `footprint` of several models.

    Args:
        models: dict from names to built models.
        sample: inputs, as for `footprint`.
        **options: other arguments of `footprint`.

    Returns:
        A table with one row for each model, its totals, and their ratios to the totals of the first
        model: `parameters_ratio`, `effective_macs_ratio`, `bytes_ratio`, `sparse_bytes_ratio` etc.

    Raises:
        ValueError: if `models` is not a dict or is empty, or a model is not built.

    Examples:
        >>> import keras
        >>> from keras_sac import SACDense, compare
        >>> dense = keras.Sequential([keras.Input((32,)), keras.layers.Dense(32)])
        >>> thin = keras.Sequential([keras.Input((32,)), SACDense(32, "random", rank=4)])
        >>> float(compare({"dense": dense, "thin": thin}).loc["thin", "macs_ratio"])
        0.25
    """
    if not isinstance(models, Mapping) or not models:
        received = type(models).__name__ if models else repr(models)
        raise ValueError(
            "`models` must be a dict from names to built models, with at least one model. "
            f"Received: models={received}"
        )
    rows = [
        {"model": name, **footprint(model, sample, **options).attrs["total"]}
        for name, model in models.items()
    ]
    totals = table(rows).set_index("model")
    for column in [c for c in totals.columns if c != "sparsity"]:
        # Unknown operations are `None`, which would not divide.
        values = totals[column].astype("Float64")
        totals[f"{column}_ratio"] = values / values.iloc[0]
    return totals.astype(dict.fromkeys(_OPERATIONS, "Int64"))


def _count_weights(
    layer: keras.layers.Layer, weights: list[keras.Variable], compression: bool
) -> dict[str, Any]:
    counts: dict[str, Any] = dict.fromkeys((*_COUNTS, *_BYTES), 0)
    compressor, compressed = zlib.compressobj(9, wbits=31), 0
    for kernel in describe(weights, [layer]):
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(kernel.variable))
        nonzeros = int(np.count_nonzero(values))
        counts["bytes"] += values.nbytes
        if values.dtype.kind not in "iu" or values.itemsize == 1:
            # Quantized kernels are packed integers of one byte; wider ones are indices or counters.
            used = kernel.values() if kernel.locked else values
            counts["parameters"] += used.size
            counts["trainable"] += used.size if kernel.variable.trainable else 0
            counts["nonzeros"] += int(np.count_nonzero(used))
        if values.ndim > 1:
            counts["bound_bytes"] += entropy_bound(values.size, nonzeros, values.itemsize)
        else:
            counts["bound_bytes"] += values.nbytes
        if compression:
            content = values.reshape(-1).view("uint8").data
            for start in range(0, len(content), _CHUNK):
                compressed += len(compressor.compress(content[start : start + _CHUNK]))
            counts["sparse_bytes"] += encoded_size(values)
    counts["gzip_bytes"] = compressed + len(compressor.flush()) if weights else 0
    return counts


def _with_total(rows: list[dict[str, Any]], compression: bool) -> "pd.DataFrame":
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in (*_COUNTS, *_BYTES)}
    for name in _OPERATIONS:
        values = [row[name] for row in rows]
        total[name] = None if None in values else sum(values)
    sizes = [*_BYTES] if compression else ["bytes", "bound_bytes"]
    for row in (*rows, total):
        row["sparsity"] = 1 - row["nonzeros"] / row["parameters"] if row["parameters"] else math.nan
        row["bound_bytes"] = math.ceil(row["bound_bytes"])
        for name in _OPERATIONS:
            row[name] = None if row[name] is None else round(row[name])
    columns = [*_COUNTS, "sparsity", *_OPERATIONS, *sizes]
    result = table(rows, ["layer", "type", *columns], {name: total[name] for name in columns})
    for name in _OPERATIONS:
        result[name] = result[name].astype("Int64")
    return result
