"""Measure how long calls take, alone or alternating with others."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

# Calls of a whole model in a row: the last one finds the caches as the model itself left them.
IN_A_ROW = 3
_FEWEST = 5


def times_in_turns(
    calls: dict[str, Callable[[], Any]],
    *,
    repeats: int,
    seconds: float,
    warm_up: int = 3,
    in_a_row: int = 1,
) -> dict[str, list[float]]:
    """Measure calls in turns and return the seconds of each call by name.

    The calls alternate in random order, so that a slow moment of the machine affects all of them.

    Args:
        calls: functions by name. Each returns when its work is finished.
        repeats: maximal number of turns.
        seconds: no turn starts after this time, except the first five.
        warm_up: calls of each function before the measurement.
        in_a_row: calls of a function within a turn; only the last one is measured. With 1, a call
            finds the caches as another function left them, like a layer within its model. With
            `IN_A_ROW`, it finds its own data there, like a model that runs alone.
    """
    for _ in range(warm_up):
        for call in calls.values():
            call()
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for turn in range(repeats):
        if turn >= _FEWEST and time.perf_counter() - begin >= seconds:
            break
        for name in rng.permutation(list(calls)):
            for _ in range(in_a_row - 1):
                calls[name]()
            start = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - start)
    return times
