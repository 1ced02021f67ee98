"""Measure an epoch of `fit` without compilation, for Keras and for tf_keras."""

import time
from typing import Any


def second_epoch(
    keras: Any, model: Any, x: Any, y: Any, batch_size: int, *, callbacks: Any = ()
) -> float:
    """Return the seconds of the second epoch of a `fit`.

    The first epoch pays for compilation, and on TensorFlow for copying the array into a tensor. The
    logs at the end of an epoch are numbers, so the device has finished by then.

    Args:
        keras: the module that the model belongs to, `keras` or `tf_keras`.
        model: compiled model.
        x: inputs.
        y: labels.
        batch_size: samples per step.
        callbacks: further callbacks of `fit`.
    """
    started, stopped = [], []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: started.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: stopped.append(time.perf_counter()),
    )
    callbacks = [clock, *callbacks]
    model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, callbacks=callbacks)
    return stopped[-1] - started[-1]
