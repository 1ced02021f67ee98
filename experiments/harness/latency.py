"""Inference latency of a model's compiled predict function."""

import statistics
import time
from collections.abc import Sequence

import keras
import numpy as np


def measure(
    model: keras.Model,
    samples: np.ndarray,
    batch_sizes: Sequence[int] = (1, 256),
    *,
    warm_up: int = 5,
    repeats: int = 50,
    seconds: float = 0.5,
) -> list[dict[str, float]]:
    """Median time of `model.predict_on_batch`, from NumPy array to NumPy array.

    Args:
        model: A built model.
        samples: `(n, ...)` inputs; repeated where a batch needs more than n.
        batch_sizes: Batch sizes to measure, each at least 1.
        warm_up: Calls that are not counted (the first one compiles).
        repeats: Counted calls at most.
        seconds: No further call is begun after this time (but at least five are counted).

    Returns:
        For each batch size `{"batch_size", "median_ms", "repeats"}`.

    Raises:
        ValueError: A batch size below 1.
    """
    if min(batch_sizes) < 1:
        raise ValueError(f"batch sizes are {list(batch_sizes)}: expected each to be at least 1.")
    results = []
    for size in batch_sizes:
        batch = np.ascontiguousarray(samples[np.arange(size) % len(samples)])
        for _ in range(warm_up):
            model.predict_on_batch(batch)
        times = []
        begin = time.perf_counter()
        while len(times) < repeats and (len(times) < 5 or time.perf_counter() - begin < seconds):
            start = time.perf_counter()
            model.predict_on_batch(batch)
            times.append(time.perf_counter() - start)
        median = 1000 * statistics.median(times)
        results.append({"batch_size": size, "median_ms": round(median, 4), "repeats": len(times)})
    return results
