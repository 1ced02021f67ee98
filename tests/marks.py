"""Marks of tests that are slow on one backend only."""

import keras
import pytest

SLOW_ON_JAX = [pytest.mark.slow] if keras.backend.backend() == "jax" else []


def slow_on_jax(test):
    """Mark a test as slow where every new shape is compiled, or another backend started."""
    for mark in SLOW_ON_JAX:
        test = mark(test)
    return test
