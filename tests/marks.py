"""Marks of tests that are slow on one backend only, or that need a CPU with some operation."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()
SLOW_ON_JAX = [pytest.mark.slow] if BACKEND == "jax" else []


def slow_on_jax(test):
    """Mark a test as slow where every new shape is compiled, or another backend started."""
    for mark in SLOW_ON_JAX:
        test = mark(test)
    return test


# For whole experiments: quick on the first backend of `make test`, slow on the others.
slow_elsewhere = [] if BACKEND == "torch" else [pytest.mark.slow]

_NEXT = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}

# Files that this backend writes and another one reads. The quick tests go around in a ring, so that
# each backend writes and each one reads; the slow ones try the other pairs. (A model from JAX is
# saved as to be compiled by XLA, and torch then takes its time to compile it.)
READERS = [
    pytest.param(each, marks=[] if each == _NEXT[BACKEND] else [pytest.mark.slow])
    for each in _NEXT
    if each != BACKEND
]


def _convolves_channels_first():
    if BACKEND != "tensorflow":
        return True
    ones = np.ones((1, 1, 1, 1), "float32")
    try:
        keras.ops.conv(ones, ones, data_format="channels_first")
    except Exception as error:
        return "NHWC" not in str(error)
    return True


needs_channels_first = pytest.mark.skipif(
    not _convolves_channels_first(),
    reason="TensorFlow has no convolution with channels first on this CPU, Keras' own included",
)


def _convolves_nothing():
    empty, kernel = keras.ops.zeros((0, 3, 3, 1)), keras.ops.zeros((2, 2, 1, 4))
    return tuple(keras.ops.conv(empty, kernel).shape) == (0, 2, 2, 4)


needs_empty_convolutions = pytest.mark.skipif(
    not _convolves_nothing(),
    reason="TensorFlow's convolution of an empty batch has a wrong shape on this CPU",
)
