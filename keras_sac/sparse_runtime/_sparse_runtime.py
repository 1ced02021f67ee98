"""`to_sparse_runtime`: replace layers by sparse products where that is measured to be faster."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import at_least_zero, integer, is_verbose
from keras_sac._model import (
    Copies,
    batch_of,
    check_graph,
    reachable_layers,
    symbolic_inputs,
    to_numpy,
)
from keras_sac._run import IN_A_ROW, in_full_precision, largest_difference, median_milliseconds
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

# Allowed difference of an output, relative to the largest output of the dense model, by the least
# precise dtype that a layer computes in.
_TOLERANCES = {"bfloat16": 5e-2, "float16": 1e-2}
_TOLERANCE = 1e-5


def to_sparse_runtime(
    model: keras.Model,
    sample: Any,
    *,
    batch_sizes: Sequence[int] | None = None,
    min_speedup: float = 1.1,
    repeats: int = 30,
    seconds: float = 2.0,
    verbose: int | str = 0,
) -> "tuple[keras.Model, pd.DataFrame]":
    """Replace layers by products that skip zeros, where this machine runs them faster.

    Zeros alone make nothing faster, because a dense product multiplies by them. Each `Dense`, 1x1
    convolution and plain `EinsumDense` with at least half of its weights zero is timed against the
    product with its nonzero weights (`y = x W`, `W` in compressed sparse row format), on the inputs
    that reach the layer, and replaced if that is faster. Then the whole model is timed against the
    dense one; if it is not faster, all layers stay dense. So call this on the machine, the backend
    and the batch sizes that the model will run with. On a GPU of compute capability 8.0 or higher,
    kernels with two zeros in four (`NM(m=4, n_zeros=2)`) in half precision are tried in torch's 2:4
    format.

    Args:
        model: built Functional or Sequential model, which may contain such models. Layers inside
            composite layers, and SAC layers, are not replaced. The model is not changed.
        sample: inputs, an array `(samples, ...)` or a structure of arrays as the model takes it. It
            is repeated if a batch needs more samples.
        batch_sizes: batch sizes at which a layer must be faster. Defaults to the number of samples.
        min_speedup: smallest speedup for which a layer is replaced, at least 1.
        repeats: maximal number of measured calls of each product, at least 1.
        seconds: time limit of one comparison; no further call starts after it.
        verbose: 0 prints nothing; `"auto"`, 1 and 2 print each decision.

    Returns:
        The new model, not compiled, and a table.

        The model has copies of the weights; replaced layers keep only nonzero weights, at eight
        bytes each (twice that on TensorFlow), and cannot be trained. The model can be saved unless
        it has 2:4 layers. It is better to save the dense model with `save_sparse` and to call
        `to_sparse_runtime` again where it runs.

        The table has one row for each layer with weights: `layer`, `type`, `sparsity` (fraction of
        zeros in its matrices), `runs_as` (`"dense"`, `"csr"` or `"2:4"`), for each batch size `n`
        the columns `dense_ms_<n>`, `sparse_ms_<n>` and `speedup_<n>` (NaN if not measured), and
        `reason`. `attrs["total"]` is a dict with the same entries for the whole model.

    Raises:
        ValueError: if the model is not built or is neither Functional nor Sequential, the sample
            does not fit the model, or an argument is out of range.

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
    is_shown = is_verbose(verbose)
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
    copies, is_changed = Copies(), False
    rows = []
    for layer, each in zip(layers, found, strict=True):
        inputs = {n: seen[id(layer)] for n, seen in reaching.items() if id(layer) in seen}
        new, row = choose(layer, each, inputs, timer, min_speedup, model.jit_compile)
        if new is not None:
            copies.put(layer, new)
            is_changed = True
        rows.append(row)
        if is_shown:
            print(f"{row['layer']}: {row['runs_as']}, {row['reason']}")
    runtime = copies.of(model)
    total, reason = _whole_model(model, runtime, batches, timer) if is_changed else ({}, "")
    if reason:
        runtime = Copies().of(model)
        rows = [_kept_dense(row) for row in rows]
    zeros, size = (sum(each) for each in zip(*map(sparsity_of, layers), strict=True))
    total = {
        "sparsity": zeros / size if size else np.nan,
        "runs_as": _kinds(rows),
        **total,
        "reason": reason or ("faster" if is_changed else "no layer is faster"),
    }
    if is_shown:
        print(f"total: {total['runs_as']}, {total['reason']}")
    return runtime, table(rows, columns(list(batches)), total)


def _whole_model(
    model: keras.Model, runtime: keras.Model, batches: dict[int, Any], timer: Timer
) -> tuple[Row, str]:
    """Return the measurements of the whole model, and why it stays dense; `""` if it does not."""
    tolerance = max(
        _TOLERANCES.get(layer.compute_dtype, _TOLERANCE)
        for layer in [model, *reachable_layers(model)]
    )
    for batch in batches.values():
        # TF32, the default of some products on a GPU, has errors of 1e-3.
        with in_full_precision():
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
        sizes = ", ".join(map(str, slower))
        return row, f"the whole model is not faster at batch size {sizes}"
    return row, ""


def _distance(outputs: Any, dense: Any) -> float:
    """Return the largest difference, relative to the largest value of its output array."""
    pairs = zip(keras.tree.flatten(outputs), keras.tree.flatten(dense), strict=True)
    found = [largest_difference(*pair) for pair in pairs]
    return max(off / max(scale, 1e-30) for off, scale in found)


def _kept_dense(row: Row) -> Row:
    if row["runs_as"] == "dense":
        return row
    return {**row, "runs_as": "dense", "reason": "faster alone, but the whole model is not"}


def _kinds(rows: list[Row]) -> str:
    kinds = sorted({row["runs_as"] for row in rows} - {"dense"})
    return " and ".join(kinds) or "dense"


def _batches(model: Any, sample: Any, batch_sizes: Sequence[int] | None) -> dict[int, Any]:
    """Check model, sample and batch sizes; return batch size -> inputs."""
    otherwise = "Make a Functional model of it: `keras.Model(inputs, outputs)`."
    check_graph(model, "to_sparse_runtime", otherwise)
    if not model.weights:
        raise ValueError(f"The model {model.name!r} has no weights, and so no zeros to skip.")
    arrays = [to_numpy(each) for each in keras.tree.flatten(sample)]
    wanted = keras.tree.flatten(symbolic_inputs(model))
    lengths = {len(each) if each.ndim else 0 for each in arrays}
    if len(arrays) != len(wanted) or len(lengths) != 1 or 0 in lengths:
        shapes = ", ".join(str(each.shape) for each in arrays)
        raise ValueError(
            f"`sample` must be {len(wanted)} array(s) of shape (samples, ...), as the model "
            f"{model.name!r} takes them. Received: {len(arrays)} array(s) of shapes {shapes}"
        )
    sizes = [len(arrays[0])] if batch_sizes is None else batch_sizes
    if not len(sizes):
        raise ValueError(
            "`batch_sizes` must have at least one batch size. Received: an empty sequence"
        )
    return {n: batch_of(sample, n) for n in (integer("batch_sizes", each, 1) for each in sizes)}


def _at_least_one(min_speedup: Any) -> float:
    number = at_least_zero("min_speedup", min_speedup)
    if number < 1:
        raise ValueError(
            "`min_speedup` must be a number >= 1; a smaller one would allow slower layers. "
            f"Received: min_speedup={min_speedup!r}"
        )
    return number
