"""For each layer: as it is, or as a product that skips the zeros of its kernel."""

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

# A CSR entry takes two numbers and a dense one takes one: with fewer zeros it reads no less.
LEAST_SPARSITY = 0.5

Row = dict[str, Any]
# The kind of product, and what makes the layer.
Candidate = tuple[str, Callable[[], keras.layers.Layer]]
Timer = Callable[..., dict[str, float]]


def sparsity_of(layer: keras.layers.Layer) -> tuple[int, int]:
    """Return how many entries of the matrices of a layer are zero, and how many there are."""
    matrices = [keras.ops.convert_to_numpy(each) for each in layer.weights if len(each.shape) > 1]
    size = sum(each.size for each in matrices)
    return size - sum(int(np.count_nonzero(each)) for each in matrices), size


def candidate(layer: keras.layers.Layer) -> Candidate | str:
    """Return the kind of product that a layer may run as and what makes it, or why there is none.

    Args:
        layer: built, with weights.
    """
    reason = why_not_one_product(layer)
    if reason:
        return reason
    if layer.compute_dtype in DTYPES:
        reason = why_not_semi_structured(kernel_of(layer), layer.compute_dtype, capability())
        if reason:
            return f"CSR products are not in {layer.compute_dtype}, and {reason}"
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
    """Return the layer to put in the place of another, `None` to keep it, and what was measured.

    Args:
        layer: built, with weights.
        found: what `candidate` found for it.
        inputs: batch size -> the tensor that reaches the layer.
        timer: returns milliseconds.
        min_speedup: how many times as fast it must be, at each batch size.
        jit_compile: of the model.
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
    """Return the part of a row that is about one batch size."""
    return {
        f"dense_ms_{batch_size}": ms["dense"],
        f"sparse_ms_{batch_size}": ms["sparse"],
        f"speedup_{batch_size}": ms["dense"] / ms["sparse"],
    }


def inputs_reaching(
    layers: Sequence[keras.layers.Layer], model: keras.Model, batch: Any
) -> dict[int, Any]:
    """Return the inputs of layers of a model, by their `id`, in a forward pass of a batch.

    Of a layer that is called several times those of the largest call, which takes the longest.
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
