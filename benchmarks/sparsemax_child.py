"""Child process of `bench_sparsemax.py`: measure one backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from compiled import compiled
from keras import ops

from keras_sac._backend import without_gradients
from keras_sac._run import times_in_turns
from keras_sac.analysis import environment
from keras_sac.heads import entmax15, sparsemax


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Measure all functions for each number of classes, and return the times."""
    backend = keras.backend.backend()
    functions: dict[str, Callable[[Any], Any]] = {"ours": sparsemax, "sort": by_sorting}
    if backend == "torch":
        import entmax

        functions |= {"entmax": entmax.sparsemax, "entmax15 of entmax": entmax.entmax15}
    functions["entmax15"] = entmax15
    seconds: dict[str, dict[str, list[float]]] = {}
    for classes in options["classes"]:
        rng = np.random.default_rng(options["seed"])
        shape = (options["rows"], classes)
        x, g = (ops.convert_to_tensor(rng.standard_normal(shape, "float32")) for _ in range(2))
        own = {
            f"{name} {what}": run
            for name, function in functions.items()
            for what, run in runs(backend, function, x, g).items()
        }
        seconds[str(classes)] = times_in_turns(
            own, repeats=options["repeats"], seconds=options["seconds"]
        )
    return {"environment": environment(), "seconds": seconds}


def by_sorting(x: Any) -> Any:
    """Compute sparsemax as in the paper, by sorting all logits; the backend differentiates it."""
    ordered = -ops.sort(-x, axis=-1)
    ranks = ops.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    sums = ops.cumsum(ordered, axis=-1) - 1.0
    size = ops.sum(ops.cast(ordered * ranks > sums, "int32"), axis=-1, keepdims=True)
    tau = ops.take_along_axis(sums, size - 1, axis=-1) / ops.cast(size, x.dtype)
    return ops.relu(x - tau)


def runs(
    backend: str, function: Callable[[Any], Any], x: Any, g: Any
) -> dict[str, Callable[[], Any]]:
    """Return functions for the forward pass and for both passes, compiled as in `fit`."""
    forward = compiled(_without_gradients(function))
    both = compiled(_gradient_of(backend, function))
    return {"forward": lambda: forward(x), "both": lambda: both(x, g)}


def _gradient_of(backend: str, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a function of `x` and `g` that returns `g^T df/dx`."""
    match backend:
        case "torch":

            def gradient(x: Any, g: Any) -> Any:
                leaf = x.detach().requires_grad_()
                function(leaf).backward(g)
                return leaf.grad

        case "jax":
            import jax

            def gradient(x: Any, g: Any) -> Any:
                return jax.vjp(function, x)[1](g)[0]

        case _:
            import tensorflow as tf

            def gradient(x: Any, g: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = function(x)
                return tape.gradient(y, x, output_gradients=g)

    return gradient


def _without_gradients(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        with without_gradients():
            return function(x)

    return forward
