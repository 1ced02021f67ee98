"""How long a layer takes against another, as a model runs it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sac._run._clock import times_in_turns


def median_milliseconds(
    calls: dict[str, Callable[[], Any]], *, repeats: int, seconds: float, in_a_row: int = 1
) -> dict[str, float]:
    """Return the median of the times of each call; arguments as for `times_in_turns`."""
    times = times_in_turns(calls, repeats=repeats, seconds=seconds, in_a_row=in_a_row)
    return {name: 1000 * float(np.median(each)) for name, each in times.items()}


def inference(layer: keras.layers.Layer, inputs: Any, jit_compile: bool) -> Callable[[], Any]:
    """Return a call of a layer on inputs, compiled as Keras compiles a model with it.

    Args:
        layer: built.
        inputs: a tensor.
        jit_compile: of the model, `model.jit_compile`; TensorFlow leaves XLA out on a CPU.
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

    # As arguments: what a compiled function holds itself it may calculate with beforehand.
    trained = [each.value for each in layer.trainable_variables]
    others = [each.value for each in layer.non_trainable_variables]
    run = jax.jit(lambda trained, others, x: layer.stateless_call(trained, others, x)[0])
    return lambda: jax.block_until_ready(run(trained, others, inputs))


def _in_tensorflow(layer: keras.layers.Layer, inputs: Any, xla: bool) -> Callable[[], Any]:
    import tensorflow as tf

    run = tf.function(lambda x: layer(x), jit_compile=xla, autograph=False)
    return lambda: run(inputs).numpy()
