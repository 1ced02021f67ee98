"""Fixtures of the tests of the sparse runtime."""

import pytest

from keras_sac.sparse_runtime import _sparse_runtime
from tests.sparse_runtime.runtimes import Times


@pytest.fixture
def clock(monkeypatch):
    def set_to(*speedups):
        times = Times(*speedups)
        monkeypatch.setattr(_sparse_runtime, "median_milliseconds", times)
        return times

    return set_to
