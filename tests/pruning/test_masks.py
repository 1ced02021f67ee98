"""Masks are applied exactly, and only to the variables they belong to."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import _backend
from tests.pruning.reference import FLOATS


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_a_mask_leaves_out_is_zero_whatever_it_was(dtype):
    variable = keras.Variable(np.zeros((2, 4)), dtype=dtype)
    variable.assign([[1.5, -2.0, np.nan, np.inf], [-np.inf, np.nan, -0.5, 0.25]])
    mask = ops.convert_to_tensor([[True, False, False, False], [False, True, True, False]])
    _backend.mask_all([variable], [mask])
    value = ops.convert_to_numpy(ops.cast(variable, "float32"))
    np.testing.assert_array_equal(value, [[1.5, 0, 0, 0], [0, np.nan, -0.5, 0]])
    # A negative zero compresses worse, and has the pattern of a number.
    assert not np.signbit(value[value == 0]).any()
    assert keras.backend.standardize_dtype(variable.dtype) == dtype


def test_a_variable_that_is_no_contiguous_memory():
    variable = keras.Variable(np.zeros((3, 2)), dtype="float32")
    variable.assign(ops.transpose(ops.convert_to_tensor(np.arange(1.0, 7.0).reshape(2, 3))))
    mask = ops.transpose(ops.convert_to_tensor([[True, False, True], [False, True, False]]))
    _backend.mask_all([variable], [mask])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), [[1, 0], [0, 5], [3, 0]])


def test_in_a_stateless_scope_neither_variable_nor_given_value_changes():
    variable = keras.Variable([1.0, 2.0, 3.0])
    given = ops.convert_to_tensor([4.0, 5.0, 6.0])
    with keras.StatelessScope([(variable, given)]) as scope:
        _backend.mask_all([variable], [ops.convert_to_tensor([True, False, True])])
    current = ops.convert_to_numpy(scope.get_current_value(variable))
    np.testing.assert_array_equal(current, [4.0, 0.0, 6.0])
    np.testing.assert_array_equal(ops.convert_to_numpy(given), [4.0, 5.0, 6.0])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), [1.0, 2.0, 3.0])
