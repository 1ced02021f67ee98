"""The proximal operators, at their edges; their properties are in tests/properties."""

import numpy as np
import pytest

from keras_sac.regularization._soft_threshold import group_soft_threshold, soft_threshold
from tests.pruning.reference import compilers, numpy, tensor
from tests.regularization import reference


def test_soft_threshold_by_hand():
    v = tensor(np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5]), "float32")
    new = numpy(soft_threshold(v, tensor(1.0, "float32")))
    assert new.tolist() == [-2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]
    assert not np.signbit(new[1:]).any()


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_group_soft_threshold_is_the_loop(rng, axis):
    shape = [2, 3, 4, 5]
    v = rng.normal(size=shape)
    sizes = [1] * 4
    sizes[axis] = shape[axis]
    v = (v * np.linspace(0.5, 1.5, shape[axis]).reshape(sizes)).astype("float32")
    n = v.size / v.shape[axis]
    new = numpy(group_soft_threshold(tensor(v), tensor(np.sqrt(n), "float32"), axis))
    np.testing.assert_allclose(new, reference.group_soft(v, 1.0, axis), atol=1e-6)
    gone = np.all(np.moveaxis(new, axis, 0).reshape(v.shape[axis], -1) == 0, axis=1)
    assert 0 < gone.sum() < gone.size


def test_a_group_of_one_weight_is_a_weight(rng):
    v, t = tensor(rng.normal(size=9), "float32"), tensor(0.5, "float32")
    expected = numpy(soft_threshold(v, t))
    np.testing.assert_allclose(numpy(group_soft_threshold(v, t, 0)), expected, atol=1e-6)


def test_a_threshold_of_zero_changes_nothing(rng):
    v = np.append(rng.normal(size=(7, 4)), [[np.inf, 0.0, -0.0, np.nan]], axis=0).astype("float32")
    zero = tensor(0.0, "float32")
    np.testing.assert_array_equal(numpy(soft_threshold(tensor(v), zero)), v)
    np.testing.assert_array_equal(numpy(group_soft_threshold(tensor(v), zero, 0))[:7], v[:7])


def test_nan_is_not_taken_for_a_zero():
    v = np.array([[1.0, np.nan, 0.1], [2.0, 3.0, 0.1]], "float32")
    one = tensor(1.0, "float32")
    np.testing.assert_array_equal(
        numpy(soft_threshold(tensor(v), one)), [[0, np.nan, 0], [1, 2, 0]]
    )
    new = numpy(group_soft_threshold(tensor(v), one, 1))
    assert np.isnan(new).tolist() == [[False, True, False]] * 2
    assert new[:, 2].tolist() == [0.0, 0.0]


def test_zeros_stay_zeros():
    zeros, t = tensor(np.zeros((3, 2)), "float32"), tensor(0.0, "float32")
    assert not numpy(soft_threshold(zeros, t)).any()
    assert not numpy(group_soft_threshold(zeros, t, 1)).any()


def test_compiled_is_the_same(rng):
    v, t = tensor(rng.normal(size=(6, 5)), "float32"), tensor(1.0, "float32")
    for function in (soft_threshold, lambda v, t: group_soft_threshold(v, t, 1)):
        for compiled in compilers():
            np.testing.assert_allclose(
                numpy(compiled(function)(v, t)), numpy(function(v, t)), atol=1e-6
            )
