"""What the benchmarks share: a clock for epochs, and how a result is written."""

import json
import os
import pathlib
import time
from typing import Any

import keras


def second_epoch(
    model: Any, x: Any, y: Any, batch_size: int, *, keras: Any = keras, callbacks: Any = ()
) -> float:
    """Return the seconds of the second epoch of a `fit`.

    The first pays for compilation, and on TensorFlow for a copy of the array into a tensor. The
    logs of the end of an epoch are numbers, so the device has finished by then.

    Args:
        model: compiled.
        x: inputs.
        y: labels.
        batch_size: samples of a step.
        keras: the module that the model is of: this one, or `tf_keras`.
        callbacks: of the model besides the clock.
    """
    started, stopped = [], []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: started.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: stopped.append(time.perf_counter()),
    )
    callbacks = [clock, *callbacks]
    model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, callbacks=callbacks)
    return stopped[-1] - started[-1]


def write_result(path: pathlib.Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial, path)
