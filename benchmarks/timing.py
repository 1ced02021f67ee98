"""What the benchmarks share: a clock for epochs, child processes, how a result is written."""

import json
import os
import pathlib
import re
import subprocess
import sys
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


def run_child(script: pathlib.Path, arguments: dict[str, Any], **variables: str | None) -> Any:
    """Return what a script prints after `RESULT `, in a process of its own.

    Args:
        script: gets its arguments as JSON on the command line.
        arguments: JSON values.
        variables: of the environment, on top of those of this process; `None` takes one away.

    Raises:
        RuntimeError: if it failed or printed no result.
    """
    changed = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(arguments)],
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{script.name} failed with {variables}:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def write_result(path: pathlib.Path, result: dict[str, Any]) -> None:
    """Write a result as JSON, whole or not at all; a list of numbers in a line, of seven digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(_rounded(result), indent=1)
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda found: " ".join(found[0].split()), text)
    partial.write_text(text + "\n")
    os.replace(partial, path)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    # Significant ones: an error of 3e-8 is not zero.
    return float(f"{value:.7g}") if isinstance(value, float) else value
