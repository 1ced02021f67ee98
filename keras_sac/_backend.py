"""The few questions that the three backends answer differently."""

from typing import Any

import keras
import numpy as np


def is_traced(tensor: Any) -> bool:
    """Whether `tensor` stands for a value that is only known later: a graph, a trace, a shape."""
    if isinstance(tensor, keras.KerasTensor):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return _stands_for_a_value(tensor)


def _stands_for_a_value(tensor: Any) -> bool:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    if backend == "torch":
        import torch

        return torch.compiler.is_compiling() or getattr(tensor, "is_meta", False)
    return False


def value_is_nan(variable: keras.Variable) -> bool | None:
    """Whether the first entry of `variable` is NaN now; `None` where no value can be read.

    Inside a compiled step a variable stands for its future value. TensorFlow lets the present one
    be read from outside the graph; JAX does as long as `fit` has not taken the values into its
    own state; torch always does, but for shape inference on its `meta` device.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return _first_is_nan(variable.value) if tf.executing_eagerly() else None
    # No public accessor looks past JAX's stateless scope or torch's meta device.
    value = getattr(variable, "_value", None)
    if value is None or _stands_for_a_value(value):
        return None
    return _first_is_nan(value)


def _first_is_nan(value: Any) -> bool:
    return bool(np.isnan(keras.ops.convert_to_numpy(value).flat[0]))
