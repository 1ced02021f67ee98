"""Settings shared by all tests: seeds, hypothesis profile, and the backend they run on."""

import os

import keras
import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_report_header():
    """Name the backend, so that a log of three runs can be told apart."""
    return f"keras backend: {keras.backend.backend()} (keras {keras.__version__})"


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(1234)


@pytest.fixture
def rng():
    """NumPy generator with a fixed seed."""
    return np.random.default_rng(7)
