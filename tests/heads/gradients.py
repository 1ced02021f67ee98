"""Gradients on the backend of the tests."""

import contextlib

import keras
import numpy as np


def leaf(x):
    """Return a torch tensor of an array that collects gradients, on the device of Keras."""
    x = np.asarray(x)
    return keras.ops.convert_to_tensor(x, str(x.dtype)).detach().clone().requires_grad_()


def vjp(function, x, upstream):
    """Return `upstream^T df/dx` as NumPy, of a function of one tensor."""
    backend = keras.backend.backend()
    if backend == "torch":
        x = leaf(x)
        function(x).backward(keras.ops.convert_to_tensor(upstream, str(upstream.dtype)))
        return x.grad.cpu().numpy()
    if backend == "jax":
        import jax

        # `fit` compiles, so this does too.
        pull = jax.jit(lambda x, g: jax.vjp(function, x)[1](g)[0])
        return np.asarray(pull(np.asarray(x), np.asarray(upstream)))
    import tensorflow as tf

    @tf.function
    def pull(x, g):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return tape.gradient(y, x, output_gradients=g)

    return pull(tf.constant(x), tf.constant(upstream)).numpy()


def float64():
    """Return a context in which the backend has float64, which JAX has to be told."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def compiled(function):
    """Compile a function of one tensor as `fit` would."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    return function


def jacobian(function, x):
    """Return the Jacobian of a function from a vector to a vector."""
    rows = [vjp(function, x, unit) for unit in np.eye(len(x), dtype=x.dtype)]
    return np.stack(rows)
