"""`to_sparse_runtime`: a model that skips the zeros of its kernels where that is faster."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import at_least_zero, integer
from keras_sac._model import batch_of, check_graph, copied, reachable_layers, symbolic_inputs
from keras_sac._run import largest_difference, median_milliseconds
from keras_sac._table import table
from keras_sac.sparse_runtime._layer_choice import (
    Row,
    Timer,
    candidate,
    choose,
    columns,
    inputs_reaching,
    measured,
    sparsity_of,
)

if TYPE_CHECKING:
    import pandas as pd

# How far the outputs may be from the dense ones, as a share of the largest: by the least precise
# dtype that a layer computes in.
_TOLERANCES = {"bfloat16": 5e-2, "float16": 1e-2}
_TOLERANCE = 1e-5
# Calls of a whole model in a turn; it has the caches for itself from the second on.
IN_A_ROW = 3


def to_sparse_runtime(
    model: keras.Model,
    sample: Any,
    *,
    batch_sizes: Sequence[int] | None = None,
    min_speedup: float = 1.1,
    repeats: int = 30,
    seconds: float = 2.0,
    verbose: int = 0,
) -> "tuple[keras.Model, pd.DataFrame]":
    """Return a model with the same outputs that skips zeros where this machine is faster for it.

    Zeros alone make nothing faster: a dense product multiplies by them. Each `Dense`, 1x1
    convolution and plain `EinsumDense` of which at least half of the weights are zero is measured
    against a product with those that are not (`y = x W`, `W` in the compressed sparse row format),
    on the inputs that reach it; the faster one is put in. Then the whole model is measured against
    the dense one, and where it is not faster all of it stays dense. So decide it on the machine,
    the backend and the batch sizes where it will run. On a GPU of compute capability 8 and more,
    kernels with two zeros in four (`NM(m=4, n_zeros=2)`) in half precision are tried in torch's 2:4 format.

    Args:
        model: built Functional or Sequential model, nested ones too. Layers inside composite
            layers, and SAC layers, stay as they are. It is not changed.
        sample: inputs, an array `(samples, ...)` or a structure of arrays as the model takes it;
            repeated where a batch needs more.
        batch_sizes: a layer must be faster at each of them; by default the number of samples.
        min_speedup: how many times as fast a layer must be to be exchanged, at least 1.
        repeats: measured calls of each product, at most.
        seconds: for one comparison; no further call begins after this time.
        verbose: 1 prints each decision.

    Returns:
        The new model, not compiled, with copies of the weights (of exchanged layers only those that
        are not zero, eight bytes each; TensorFlow holds them twice). Exchanged layers do not train.
        It can be saved, unless it has 2:4 layers; better save the model it was made from with
        `save_sparse`, and decide anew where it runs. And a table with one row for each layer that
        has weights: `layer`, `type`, `sparsity` (of its matrices), `runs_as` (`"dense"`, `"csr"`,
        `"2:4"`), for each batch size `dense_ms_<n>`, `sparse_ms_<n>`, `speedup_<n>` (NaN if not
        measured), and `reason`. `attrs["total"]` is a dict with the same of the whole model.

    Raises:
        ValueError: if the model is not built or no Functional or Sequential one, the sample does
            not fit, or a number is out of range.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import to_sparse_runtime
        >>> model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(32)])
        >>> x = np.ones((4, 64), "float32")
        >>> fast, report = to_sparse_runtime(model, x, repeats=5)
        >>> report["runs_as"].tolist(), report["reason"][0]
        (['dense'], 'fewer than 50% of its weights are zero')
        >>> np.allclose(fast.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
        True

    Reference:
        Gale, Zaharia, Young, Elsen, 2020, "Sparse GPU Kernels for Deep Learning".
    """
    batches = _batches(model, sample, batch_sizes)
    min_speedup = _at_least_one(min_speedup)
    timer = functools.partial(
        median_milliseconds,
        repeats=integer("repeats", repeats, 1),
        seconds=at_least_zero("seconds", seconds),
    )
    layers = [layer for layer in reachable_layers(model) if layer.weights]
    found = [candidate(layer) for layer in layers]
    watched = [
        layer for layer, each in zip(layers, found, strict=True) if not isinstance(each, str)
    ]
    reaching = {size: inputs_reaching(watched, model, batch) for size, batch in batches.items()}
    chosen: dict[int, keras.layers.Layer] = {}
    rows = []
    for layer, each in zip(layers, found, strict=True):
        inputs = {n: seen[id(layer)] for n, seen in reaching.items() if id(layer) in seen}
        new, row = choose(layer, each, inputs, timer, min_speedup, model.jit_compile)
        if new is not None:
            chosen[id(layer)] = new
        rows.append(row)
        if verbose:
            print(f"{row['layer']}: {row['runs_as']}, {row['reason']}")
    runtime = copied(model, lambda layer: chosen.get(id(layer)))
    total, reason = _whole(model, runtime, batches, timer) if chosen else ({}, "")
    if reason:
        runtime = copied(model, lambda layer: None)
        rows = [_given_up(row) for row in rows]
    zeros, size = (sum(each) for each in zip(*map(sparsity_of, layers), strict=True))
    total = {
        "sparsity": zeros / size if size else np.nan,
        "runs_as": _kinds(rows),
        **total,
        "reason": reason or ("faster" if chosen else "no layer is faster"),
    }
    if verbose:
        print(f"total: {total['runs_as']}, {total['reason']}")
    return runtime, table(rows, columns(list(batches)), total)


def _whole(
    model: keras.Model, runtime: keras.Model, batches: dict[int, Any], timer: Timer
) -> tuple[Row, str]:
    """Return what was measured of the whole, and why it is given up, `""` if it is not."""
    tolerance = max(
        _TOLERANCES.get(layer.compute_dtype, _TOLERANCE)
        for layer in [model, *reachable_layers(model)]
    )
    for batch in batches.values():
        off = _distance(runtime.predict_on_batch(batch), model.predict_on_batch(batch))
        if not off <= tolerance:
            return {}, f"outputs differ by {off:.1e} of the largest, more than {tolerance:g}"
    row: Row = {}
    slower = []
    for size, batch in batches.items():
        ms = timer(
            {
                "dense": functools.partial(model.predict_on_batch, batch),
                "sparse": functools.partial(runtime.predict_on_batch, batch),
            },
            in_a_row=IN_A_ROW,
        )
        row |= measured(size, ms)
        if ms["sparse"] > ms["dense"]:
            slower.append(size)
    if slower:
        return row, f"not faster as a whole at batch size {', '.join(map(str, slower))}"
    return row, ""


def _distance(outputs: Any, dense: Any) -> float:
    """Return the largest difference of an output, each as a share of the largest of its array."""
    pairs = zip(keras.tree.flatten(outputs), keras.tree.flatten(dense), strict=True)
    found = [largest_difference(*pair) for pair in pairs]
    return max(off / max(scale, 1e-30) for off, scale in found)


def _given_up(row: Row) -> Row:
    if row["runs_as"] == "dense":
        return row
    return {**row, "runs_as": "dense", "reason": "faster by itself, but given up with the whole"}


def _kinds(rows: list[Row]) -> str:
    kinds = sorted({row["runs_as"] for row in rows} - {"dense"})
    return " and ".join(kinds) or "dense"


def _batches(model: Any, sample: Any, batch_sizes: Sequence[int] | None) -> dict[int, Any]:
    """Check the model and the sample; return batch size -> inputs."""
    otherwise = "Make a Functional model of it: `keras.Model(inputs, outputs)`."
    check_graph(model, "to_sparse_runtime", otherwise)
    if not model.weights:
        raise ValueError(f"The model {model.name!r} has no weights, and so no zeros to skip.")
    arrays = [np.asarray(each) for each in keras.tree.flatten(sample)]
    wanted = keras.tree.flatten(symbolic_inputs(model))
    lengths = {len(each) if each.ndim else 0 for each in arrays}
    if len(arrays) != len(wanted) or len(lengths) != 1 or 0 in lengths:
        shapes = ", ".join(str(each.shape) for each in arrays)
        raise ValueError(
            f"`sample` must be {len(wanted)} array(s) of shape (samples, ...), as the model "
            f"{model.name!r} takes them. Received {len(arrays)}, of shapes {shapes}."
        )
    sizes = [len(arrays[0])] if batch_sizes is None else batch_sizes
    if not len(sizes):
        raise ValueError("`batch_sizes` must name at least one batch size. Received none.")
    return {n: batch_of(sample, n) for n in (integer("batch_sizes", each, 1) for each in sizes)}


def _at_least_one(min_speedup: Any) -> float:
    number = at_least_zero("min_speedup", min_speedup)
    if number < 1:
        raise ValueError(
            "`min_speedup` must be at least 1, or layers would be made slower. Received: "
            f"{min_speedup!r}"
        )
    return number
