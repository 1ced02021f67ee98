"""`merge_sac`: replace the SAC layers of a model by stock Keras layers."""

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import one_of
from keras_sac._model import Copies, check_graph, reachable_layers
from keras_sac._table import table
from keras_sac.layers import SubspaceLayer, sac_layers

if TYPE_CHECKING:
    import pandas as pd

_MERGE = ("always", "cheaper", "never")


def merge_sac(model: keras.Model, *, merge: str = "always") -> "tuple[keras.Model, pd.DataFrame]":
    """Replace SAC layers by stock Keras layers with the same outputs; return a new model.

    A merged layer becomes one stock layer with `kernel = basis @ learner`, which takes
    `in_dim units` multiplications per position. Any other becomes two, with basis and learner,
    which take `rank (in_dim + units)`; these two keep the zeros of a pruned learner.

    Args:
        model: built Functional or Sequential model, which may contain nested models. It is not
            changed. SAC layers inside composite layers are copied as they are.
        merge: which layers to merge: `"always"`, `"never"`, or `"cheaper"`, if the kernel takes
            fewer multiplications and has fewer non-zeros than basis and learner.

    Returns:
        `(model, report)`: the new model, not compiled, with copies of all weights, and a DataFrame
        with one row per SAC layer: `layer`, `type`, `rank`, `factored_macs` and `merged_macs` (per
        position of the outputs, zeros included), `factored_nonzeros`, `merged_nonzeros`, `merged`
        and `reason`.

    Raises:
        ValueError: if the model is not built, not Functional or Sequential, or a SAC layer has no
            basis yet.

    Examples:
        >>> import keras
        >>> from keras_sac import SACDense, merge_sac
        >>> model = keras.Sequential([keras.Input((8,)), SACDense(4, "random", rank=6)])
        >>> merged, report = merge_sac(model)
        >>> type(merged.layers[0]).__name__
        'Dense'
        >>> int(report["factored_macs"][0]), int(report["merged_macs"][0])
        (72, 32)
    """
    one_of("merge", merge, _MERGE)
    otherwise = "Use `layer.to_dense()` instead of the layer where the model is made."
    check_graph(model, "merge_sac", otherwise)
    reachable = {id(layer) for layer in reachable_layers(model)}
    copies = Copies()
    rows = []
    for layer in sac_layers(model):
        merged = layer.to_dense()
        row = _costs(layer, merged)
        reason = _why_not(row, merge, id(layer) in reachable)
        rows.append({**row, "merged": not reason, "reason": reason})
        if id(layer) in reachable:
            copies.put(layer, layer.to_factors() if reason else merged)
    return copies.of(model), table(rows, (*_COSTS, "merged", "reason"))


_COSTS = (
    *("layer", "type", "rank"),
    *("factored_macs", "merged_macs", "factored_nonzeros", "merged_nonzeros"),
)


def _costs(layer: SubspaceLayer, merged: keras.layers.Layer) -> dict[str, Any]:
    factors = [keras.ops.convert_to_numpy(each) for each in (layer.basis, layer.learner)]
    kernel = keras.ops.convert_to_numpy(merged.kernel)
    uses = layer.basis_uses(layer.get_build_config()["input_shape"]), 1
    return {
        "layer": layer.name,
        "type": type(layer).__name__,
        "rank": layer.rank,
        "factored_macs": round(sum(n * each.size for n, each in zip(uses, factors, strict=True))),
        "merged_macs": math.prod(kernel.shape),
        "factored_nonzeros": sum(int(np.count_nonzero(factor)) for factor in factors),
        "merged_nonzeros": int(np.count_nonzero(kernel)),
    }


def _why_not(row: dict[str, Any], merge: str, reachable: bool) -> str:
    if not reachable:
        return "inside a composite layer, left as it is"
    if merge != "cheaper":
        return "" if merge == "always" else "merge='never'"
    if row["merged_macs"] >= row["factored_macs"]:
        return "two thin products are cheaper"
    if row["merged_nonzeros"] >= row["factored_nonzeros"]:
        return "the kernel would have more nonzero weights"
    return ""
