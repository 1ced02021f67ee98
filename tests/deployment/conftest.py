"""Fixtures of the tests of deployment."""

import pytest

from keras_sac.deployment import _side_by_side
from tests.deployment.runtimes import Times


@pytest.fixture
def clock(monkeypatch):
    def set_to(*speedups):
        times = Times(*speedups)
        monkeypatch.setattr(_side_by_side, "median_milliseconds", times)
        return times

    return set_to
