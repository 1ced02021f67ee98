"""Time a layer as a model runs it, compiled where Keras compiles it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sac._run._clock import times_in_turns


def median_milliseconds(
    calls: dict[str, Callable[[], Any]], *, repeats: int, seconds: float, in_a_row: int = 1
) -> dict[str, float]:
    """Return the median time of each call in milliseconds; arguments as for `times_in_turns`."""
    times = times_in_turns(calls, repeats=repeats, seconds=seconds, in_a_row=in_a_row)
    return {name: 1000 * float(np.median(each)) for name, each in times.items()}


def inference(layer: keras.layers.Layer, inputs: Any, jit_compile: bool) -> Callable[[], Any]:
    """Return a function that runs a layer on inputs, compiled as Keras compiles a model.

    Args:
        layer: built layer.
        inputs: tensor of inputs.
        jit_compile: the model's `jit_compile`; only TensorFlow uses it.
    """
    match keras.backend.backend():
        case "torch":
            return _in_torch(layer, inputs)
        case "jax":
            return _in_jax(layer, inputs)
        case _:
            return _in_tensorflow(layer, inputs, jit_compile and layer.supports_jit)


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

    # Weights are arguments: XLA could fold constants of the function before the measurement.
    trained = [each.value for each in layer.trainable_variables]
    others = [each.value for each in layer.non_trainable_variables]
    run = jax.jit(lambda trained, others, x: layer.stateless_call(trained, others, x)[0])
    return lambda: jax.block_until_ready(run(trained, others, inputs))


def _in_tensorflow(layer: keras.layers.Layer, inputs: Any, xla: bool) -> Callable[[], Any]:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x), jit_compile=xla, autograph=False)
    return lambda: run(inputs).numpy()
