"""How long one thing takes and another: calls of them in turns."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_WARM_UP = 3
_FEWEST = 5


def times_in_turns(
    calls: dict[str, Callable[[], Any]], *, repeats: int, seconds: float, in_a_row: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each call, measured in turns.

    A slow moment of the machine falls on all of them; the order is drawn anew in each turn.

    Args:
        calls: return when they have finished.
        repeats: turns, at most.
        seconds: no turn begins after this time, but there are at least five.
        in_a_row: how often each is called in a turn; the last call counts. The first one finds the
            caches as another has left them: as a layer does in its model, and a model does not
            where it runs alone.
    """
    for _ in range(_WARM_UP):
        for call in calls.values():
            call()
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for turn in range(max(repeats, _FEWEST)):
        if turn >= _FEWEST and time.perf_counter() - begin > seconds:
            break
        for name in rng.permutation(list(calls)):
            start = begin
            for _ in range(in_a_row):
                start = time.perf_counter()
                calls[name]()
            times[name].append(time.perf_counter() - start)
    return times


def median_milliseconds(
    calls: dict[str, Callable[[], Any]], *, repeats: int, seconds: float, in_a_row: int = 1
) -> dict[str, float]:
    """Return the median of the times of each call; arguments as for `times_in_turns`."""
    times = times_in_turns(calls, repeats=repeats, seconds=seconds, in_a_row=in_a_row)
    return {name: 1000 * float(np.median(each)) for name, each in times.items()}


def inference(layer: keras.layers.Layer, inputs: Any) -> Callable[[], Any]:
    """Return a call of a layer on inputs, compiled as Keras compiles a model with it.

    Args:
        layer: built.
        inputs: a tensor.
    """
    match keras.backend.backend():
        case "torch":
            return _in_torch(layer, inputs)
        case "jax":
            return _in_jax(layer, inputs)
        case _:
            return _in_tensorflow(layer, inputs)


def _in_torch(layer: keras.layers.Layer, inputs: Any) -> Callable[[], Any]:
    import torch

    def call() -> None:
        with torch.no_grad():
            layer(inputs)
        if inputs.is_cuda:
            torch.cuda.synchronize()

    return call


def _in_jax(layer: keras.layers.Layer, inputs: Any) -> Callable[[], Any]:
    import jax

    # As arguments: what a compiled function holds itself it may calculate with beforehand.
    trained = [each.value for each in layer.trainable_variables]
    others = [each.value for each in layer.non_trainable_variables]
    run = jax.jit(lambda trained, others, x: layer.stateless_call(trained, others, x)[0])
    return lambda: jax.block_until_ready(run(trained, others, inputs))


def _in_tensorflow(layer: keras.layers.Layer, inputs: Any) -> Callable[[], Any]:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x), jit_compile=layer.supports_jit, autograph=False)
    return lambda: run(inputs).numpy()
