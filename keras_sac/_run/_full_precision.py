"""Compute float32 products without TF32, to compare outputs."""

import contextlib
import threading
from collections.abc import Iterator

import keras

# On torch and TensorFlow all threads share the setting.
_SETTING = threading.RLock()


@contextlib.contextmanager
def in_full_precision() -> Iterator[None]:
    """Compute float32 products in float32; on a GPU, the default may be TF32 (10 bits)."""
    match keras.backend.backend():
        case "torch":
            with _SETTING, _torch():
                yield
        case "jax":
            import jax

            with jax.default_matmul_precision("highest"):
                yield
        case _:
            with _SETTING, _tensorflow():
                yield


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    # The form that torch's exporter reads, maybe in another thread.
    settings, name, exact = [matmul, cudnn], "allow_tf32", False
    try:
        before = [getattr(each, name) for each in settings]
    except RuntimeError:  # The user has set it for each operation.
        settings, name, exact = [matmul, cudnn.conv, cudnn.rnn], "fp32_precision", "ieee"
        before = [getattr(each, name) for each in settings]
    for each in settings:
        setattr(each, name, exact)
    try:
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            setattr(each, name, value)


@contextlib.contextmanager
def _tensorflow() -> Iterator[None]:
    import tensorflow as tf

    # Eager operations read the setting when they run.
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(allowed)
