"""Decide for each layer whether it stays dense or becomes a product that skips zeros."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model import Call, watched_calls, why_not_one_product
from keras_sac._run import inference
from keras_sac.sparse_runtime._matrix_layer import kernel_of
from keras_sac.sparse_runtime._semi_structured import (
    DTYPES,
    capability,
    semi_structured_of,
    why_not_semi_structured,
)
from keras_sac.sparse_runtime._sparse_dense import sparse_of

# A CSR entry stores a value and an index, a dense one only the value: with fewer zeros, a CSR
# product reads as much memory as a dense one.
LEAST_SPARSITY = 0.5

Row = dict[str, Any]
# The kind of product, and the function that makes the layer.
Candidate = tuple[str, Callable[[], keras.layers.Layer]]
Timer = Callable[..., dict[str, float]]


def sparsity_of(layer: keras.layers.Layer) -> tuple[int, int]:
    """Return the number of zeros and of entries in the matrices of a layer."""
    matrices = [keras.ops.convert_to_numpy(each) for each in layer.weights if len(each.shape) > 1]
    size = sum(each.size for each in matrices)
    return size - sum(int(np.count_nonzero(each)) for each in matrices), size


def candidate(layer: keras.layers.Layer) -> Candidate | str:
    """Return the product that may replace a layer, or the reason why there is none.

    Args:
        layer: built layer with weights.
    """
    reason = why_not_one_product(layer)
    if reason:
        return reason
    if layer.compute_dtype in DTYPES:
        reason = why_not_semi_structured(kernel_of(layer), layer.compute_dtype, capability())
        if reason:
            return f"CSR products do not support {layer.compute_dtype}, and {reason}"
        return "2:4", functools.partial(semi_structured_of, layer)
    zeros, size = sparsity_of(layer)
    if zeros < LEAST_SPARSITY * size:
        return f"fewer than {LEAST_SPARSITY:.0%} of its weights are zero"
    return "csr", functools.partial(sparse_of, layer)


def choose(
    layer: keras.layers.Layer,
    found: Candidate | str,
    inputs: dict[int, Any],
    timer: Timer,
    min_speedup: float,
    jit_compile: bool,
) -> tuple[keras.layers.Layer | None, Row]:
    """Time a layer against its candidate; return the replacement, or `None`, and the table row.

    Args:
        layer: built layer with weights.
        found: result of `candidate` for the layer.
        inputs: batch size -> tensor of inputs that reaches the layer.
        timer: measures two calls and returns milliseconds by name.
        min_speedup: speedup that the candidate needs at each batch size.
        jit_compile: the model's `jit_compile`.
    """
    zeros, size = sparsity_of(layer)
    row = {
        "layer": layer.name,
        "type": type(layer).__name__,
        "sparsity": zeros / size if size else np.nan,
        "runs_as": "dense",
        "reason": "",
    }
    if isinstance(found, str):
        return None, {**row, "reason": found}
    if not inputs:
        return None, {**row, "reason": "the sample does not reach it"}
    kind, make = found
    new = make()
    slower = []
    for batch_size, x in inputs.items():
        ms = timer(
            {
                "dense": inference(layer, x, jit_compile),
                "sparse": inference(new, x, jit_compile),
            }
        )
        row |= measured(batch_size, ms)
        if ms["dense"] < min_speedup * ms["sparse"]:
            slower.append(batch_size)
    if slower:
        sizes = ", ".join(map(str, slower))
        return None, {**row, "reason": f"not {min_speedup} times as fast at batch size {sizes}"}
    return new, {**row, "runs_as": kind, "reason": "faster"}


def columns(batch_sizes: Sequence[int]) -> list[str]:
    """Return the names of the columns of a report."""
    times = [name for size in batch_sizes for name in measured(size, {"dense": 1, "sparse": 1})]
    return ["layer", "type", "sparsity", "runs_as", *times, "reason"]


def measured(batch_size: int, ms: dict[str, float]) -> Row:
    """Return the entries of a row for one batch size."""
    return {
        f"dense_ms_{batch_size}": ms["dense"],
        f"sparse_ms_{batch_size}": ms["sparse"],
        f"speedup_{batch_size}": ms["dense"] / ms["sparse"],
    }


def inputs_reaching(
    layers: Sequence[keras.layers.Layer], model: keras.Model, batch: Any
) -> dict[int, Any]:
    """Return the inputs of layers, by `id(layer)`, in a forward pass of the model on a batch.

    For a layer that is called several times, the largest input counts: it takes the longest.
    """
    wanted = {id(layer) for layer in layers}
    seen: dict[int, Any] = {}

    def see(call: Call) -> None:
        if id(call.layer) not in wanted:
            return
        given = [each for each in keras.tree.flatten(call.arguments) if keras.ops.is_tensor(each)]
        before = seen.get(id(call.layer))
        if given and (before is None or np.prod(before.shape) < np.prod(given[0].shape)):
            seen[id(call.layer)] = given[0]

    with watched_calls(model, see):
        model(batch, training=False)
    return seen
