"""How long calls take: by themselves, or in turns with others."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

_FEWEST = 5


def times_in_turns(
    calls: dict[str, Callable[[], Any]],
    *,
    repeats: int,
    seconds: float,
    warm_up: int = 3,
    in_a_row: int = 1,
) -> dict[str, list[float]]:
    """Return the seconds of each call, measured in turns.

    A slow moment of the machine falls on all of them; the order is drawn anew in each turn.

    Args:
        calls: return when they have finished.
        repeats: turns, at most.
        seconds: no turn begins after this time, but the first five do.
        warm_up: calls of each that are not counted.
        in_a_row: how often each is called in a turn; the last call counts. The first one finds the
            caches as another has left them: as a layer does in its model, and a model does not
            where it runs alone.
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
