"""Measure the latency of a Keras model or an exported file."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._arguments import at_least_zero, check_keras_3, integer
from keras_sac._model import all_layers, batch_of, check_model, noise, sample_for
from keras_sac._run import (
    cpu_name,
    device_name,
    engines,
    set_threads,
    thread_count,
    times_in_turns,
)
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd


def latency(
    model: "keras.Model | str | os.PathLike[str]",
    sample: Any = None,
    *,
    batch_sizes: Sequence[int] = (1, 64),
    engine: str = "auto",
    threads: int | None = None,
    warm_up: int = 5,
    repeats: int = 200,
    seconds: float = 1.0,
) -> "pd.DataFrame":
    """Measure the time of a forward pass, from NumPy inputs to NumPy outputs.

    A Keras model runs on its backend, through `model.predict_on_batch`. A file written by `export`
    runs in the inference engine for its format. Other programs on the machine affect the times, so
    only compare times of one run.

    Args:
        model: a built Keras model, or the path of a SavedModel, `.onnx`, `.xml` (OpenVINO),
            `.tflite` or `.pt2`.
        sample: inputs of the model, an array of shape `(n_samples, ...)` or a structure of arrays;
            repeated to fill a batch. Required for files. Defaults to random numbers.
        batch_sizes: the batch sizes to measure, each at least 1.
        engine: `"auto"`, or an engine that reads the file: `"keras"`, `"tensorflow"`,
            `"onnxruntime"`, `"openvino"` (in float32), `"litert"`, `"torch"`.
        threads: number of threads that the engine may use for one product. Defaults to the choice
            of the engine. For Keras on TensorFlow and JAX, it can only be set before the program
            starts.
        warm_up: number of calls before the measurement; the first call compiles.
        repeats: largest number of measured calls.
        seconds: time after which no further call starts; at least five calls are measured.

    Returns:
        A table with one row for each batch size and the columns `engine`, `batch_size`,
        `median_ms`, `q25_ms`, `q75_ms`, `min_ms`, `repeats`, `threads` (`<NA>` if the engine does
        not report it) and `device`.

    Raises:
        ValueError: if an argument is out of range, the model is not built, no engine reads the
            file, or the number of threads cannot be changed any more.
        ImportError: if the engine is not installed.

    Examples:
        >>> import keras
        >>> from keras_sac import latency
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> times = latency(model, batch_sizes=[1, 32], repeats=5)
        >>> times["batch_size"].tolist(), bool((times["median_ms"] > 0).all())
        ([1, 32], True)
    """
    sizes = [integer("batch_sizes", size, 1) for size in batch_sizes]
    warm_up, repeats = integer("warm_up", warm_up, 0), integer("repeats", repeats, 1)
    seconds = at_least_zero("seconds", seconds)
    threads = None if threads is None else integer("threads", threads, 1)
    check_keras_3("model", model)
    kept: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if not isinstance(model, str | os.PathLike):
        engine, run, threads = _keras(model, engine, threads)
        device = device_name()
        sample = noise(model, max(sizes)) if sample is None else sample_for(model, sample)
        kept = _state_kept(model)
    else:
        if sample is None:
            raise ValueError(
                "`sample` must be inputs of the model if `model` is a path. Received: sample=None"
            )
        engine = engines.engine_of(model, engine)
        run = engines.opened(model, engine, threads)
        threads, device = run.threads, cpu_name()
    rows = []
    with kept:
        for size in sizes:
            batch = batch_of(sample, size)
            measured = times_in_turns(
                {engine: partial(run, batch)}, repeats=repeats, seconds=seconds, warm_up=warm_up
            )
            times = 1000 * np.array(measured[engine])
            lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75])
            rows.append(
                {
                    "engine": engine,
                    "batch_size": size,
                    "median_ms": median,
                    "q25_ms": lower,
                    "q75_ms": upper,
                    "min_ms": times.min(),
                    "repeats": len(times),
                    "threads": threads,
                    "device": device,
                }
            )
    result = table(rows)
    result["threads"] = result["threads"].astype("Int64")
    return result


@contextlib.contextmanager
def _state_kept(model: keras.Model) -> Iterator[None]:
    """Restore what a call changes: the states of recurrent layers, and others of one's own."""
    # Keras does not list the states of recurrent layers among the variables.
    states = [
        layer.states
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.RNN) and layer.stateful
    ]
    variables = [*model.non_trainable_variables, *keras.tree.flatten(states)]
    before = [(each, keras.ops.copy(each)) for each in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _keras(
    model: keras.Model, engine: str, threads: int | None
) -> tuple[str, Callable[[Any], Any], int]:
    if engine not in ("auto", "keras"):
        raise ValueError(
            '`engine` of a Keras model must be "auto" or "keras". '
            f"Received: {engine=}. To measure another engine, export the model first: "
            "`latency(export(model, path, format=...), sample)`."
        )
    check_model(model)
    backend = keras.config.backend()
    if threads is not None:
        set_threads(threads)
    return f"keras ({backend})", model.predict_on_batch, thread_count()
