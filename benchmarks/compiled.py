"""Compile functions of tensors as `fit` does, and wait for their results."""

from collections.abc import Callable
from typing import Any

import keras


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, compiled as `fit` does on this backend. It returns when it is finished.

    A GPU works on after a call has returned: without waiting, a clock measures the launch only.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            graph = tf.function(function)
            # On a CPU, a view of the memory.
            return lambda *tensors: graph(*tensors).numpy()
        case "jax":
            import jax

            jitted = jax.jit(function)
            return lambda *tensors: jax.block_until_ready(jitted(*tensors))
        case _:
            return lambda *tensors: _finished(function(*tensors))


def _finished(result: Any) -> Any:
    import torch

    if result.device.type == "cuda":
        torch.cuda.synchronize()
    return result
