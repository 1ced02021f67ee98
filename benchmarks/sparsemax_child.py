"""Child process of `bench_sparsemax.py`: measure one backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

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
    make = {"torch": _in_torch, "jax": _in_jax, "tensorflow": _in_tensorflow}[backend]
    forward, both = make(function, x, g)
    return {"forward": forward, "both": both}


def _in_torch(function: Callable[[Any], Any], x: Any, g: Any) -> tuple[Any, Any]:
    import torch

    leaf = x.clone().requires_grad_()

    def forward() -> Any:
        with torch.no_grad():
            return function(x)

    def both() -> Any:
        leaf.grad = None
        function(leaf).backward(g)
        return leaf.grad

    return forward, both


def _in_jax(function: Callable[[Any], Any], x: Any, g: Any) -> tuple[Any, Any]:
    import jax

    fast = jax.jit(function)
    gradient = jax.jit(lambda x, g: jax.vjp(function, x)[1](g))
    return (
        lambda: jax.block_until_ready(fast(x)),
        lambda: jax.block_until_ready(gradient(x, g)),
    )


def _in_tensorflow(function: Callable[[Any], Any], x: Any, g: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    @tf.function
    def gradient(x: Any, g: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, output_gradients=g)

    fast = tf.function(function)
    return lambda: fast(x).numpy(), lambda: gradient(x, g).numpy()
