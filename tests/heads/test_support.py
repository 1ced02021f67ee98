"""The support by sorting, for exported torch graphs, equals that of the search."""

import numpy as np
import pytest
from keras import ops

from keras_sac.heads._support import _by_sorting, threshold


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("classes", [1, 2, 17, 700])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_sorting_finds_the_threshold_of_the_search(power, classes, scale, rng):
    z = (scale * rng.normal(size=(40, classes))).astype("float32")
    z[0] = 0.0
    z[1, 1:] = -np.inf
    z[2, : classes // 2] = z[2].max()
    z -= z.max(axis=1, keepdims=True)
    z = ops.convert_to_tensor(z)
    found = ops.convert_to_numpy(_by_sorting(z, power))
    np.testing.assert_allclose(found, exact(ops.convert_to_numpy(z), power), atol=2e-5)
    np.testing.assert_allclose(found, ops.convert_to_numpy(threshold(z, power)), atol=1e-2)


def exact(z, power):
    """Return the root of `sum max(z - tau, 0)^q = 1` by bisection in float64."""
    z = z.astype("float64")
    low, high = np.full((len(z), 1), -1.0), np.zeros((len(z), 1))
    for _ in range(60):
        middle = (low + high) / 2
        too_low = (np.maximum(z - middle, 0) ** power).sum(1, keepdims=True) > 1
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return low
