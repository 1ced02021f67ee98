"""What the benchmarks share: a clock for epochs, and how a result is written."""

import json
import os
import pathlib
import time
from typing import Any

import keras


class EpochClock(keras.callbacks.Callback):
    """The seconds of each epoch; the logs of its end are numbers, so the device has finished."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._start)


def second_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> float:
    """Return the seconds of the second epoch of a `fit`.

    The first pays for compilation, and on TensorFlow for a copy of the array into a tensor.
    """
    clock = EpochClock()
    model.fit(x, y, batch_size=batch_size, epochs=2, verbose=0, callbacks=[clock])
    return clock.seconds[-1]


def write_result(path: pathlib.Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(partial, path)
