"""Calls alternate in random order; a timed layer is compiled as in a model."""

import keras
import numpy as np
import pytest

from keras_sac._run import _clock
from keras_sac._run._layer_timing import inference, median_milliseconds


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def call(self, durations, log, name):
        def run():
            log.append(name)
            self.now += durations[min(log.count(name), len(durations)) - 1]

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_clock, "time", clock)
    return clock


def test_medians_of_calls_that_take_turns(clock):
    log = []
    # Three calls of each are not counted; of the others one is slow.
    slow = clock.call([9.0, 9.0, 9.0, 0.5, 0.5, 7.0, 0.5, 0.5], log, "slow")
    fast = clock.call([8.0, 8.0, 8.0, 0.25], log, "fast")
    found = median_milliseconds({"slow": slow, "fast": fast}, repeats=7, seconds=1e9)
    assert found == {"slow": 500.0, "fast": 250.0}
    turns = [set(log[i : i + 2]) for i in range(0, len(log), 2)]
    assert turns == [{"slow", "fast"}] * 10
    # In no fixed order.
    assert len({tuple(log[i : i + 2]) for i in range(6, len(log), 2)}) == 2


def test_no_turn_begins_after_the_time_but_there_are_five(clock):
    for seconds, turns in ((0.0, 5), (6.5, 7), (1e9, 20)):
        log = []
        call = clock.call([1.0], log, "call")
        median_milliseconds({"call": call}, repeats=20, seconds=seconds)
        assert len(log) == 3 + turns


def test_the_last_call_in_a_row_counts(clock):
    log = []
    first = clock.call([0.0, 0.0, 0.0] + 5 * [9.0, 4.0, 0.5], log, "first")
    other = clock.call([0.0, 0.0, 0.0] + 5 * [7.0, 2.0, 0.25], log, "other")
    found = median_milliseconds(
        {"first": first, "other": other}, repeats=5, seconds=1e9, in_a_row=3
    )
    assert found == {"first": 500.0, "other": 250.0}
    rows = [set(log[i : i + 3]) for i in range(6, len(log), 3)]
    assert all(len(names) == 1 for names in rows)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_call_runs_the_layer(rng, jit_compile):
    seen = []
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    calculate = layer.call
    layer.call = lambda *args, **kwargs: seen.append(1) or calculate(*args, **kwargs)
    x = keras.ops.convert_to_tensor(rng.normal(size=(2, 4)).astype("float32"))
    call = inference(layer, x, jit_compile)
    call()
    call()
    # Compiled, the layer is called once.
    assert len(seen) == (2 if keras.backend.backend() == "torch" else 1)
    assert np.isfinite(keras.ops.convert_to_numpy(layer(x))).all()
