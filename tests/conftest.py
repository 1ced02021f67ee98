"""Settings shared by all tests: seeds, hypothesis profile, and the backend they run on."""

import os
import pathlib

# Before JAX is imported. Outside `fit` it compiles every small function for every shape, and the
# same ones in each worker, each child process and each run: most of the time of its tests.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

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
