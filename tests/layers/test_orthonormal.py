"""`Orthonormal`, the constraint that keeps a trained basis orthonormal."""

import keras
import numpy as np
import pytest

from keras_sac.layers import Orthonormal


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_orthonormal_columns_with_the_same_span(rng):
    b = rng.normal(size=(9, 4)).astype("float32")
    q = numpy(Orthonormal()(keras.ops.convert_to_tensor(b)))
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(q @ (q.T @ b), b, atol=1e-5)


def test_it_is_the_identity_on_orthonormal_columns(rng):
    q, _ = np.linalg.qr(rng.normal(size=(9, 4)))
    q = (q * [1, -1, 1, -1]).astype("float32")
    np.testing.assert_allclose(numpy(Orthonormal()(keras.ops.convert_to_tensor(q))), q, atol=1e-6)


def test_a_small_step_moves_it_little(rng):
    q, _ = np.linalg.qr(rng.normal(size=(9, 4)))
    moved = q + 1e-3 * rng.normal(size=q.shape)
    got = numpy(Orthonormal()(keras.ops.convert_to_tensor(moved.astype("float32"))))
    assert np.abs(got - q).max() < 1e-2


def test_half_precision_is_computed_in_float32(rng):
    b = keras.ops.cast(rng.normal(size=(9, 4)), "bfloat16")
    q = Orthonormal()(b)
    assert keras.backend.standardize_dtype(q.dtype) == "bfloat16"
    q = numpy(keras.ops.cast(q, "float32"))
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=2e-2)


def test_more_columns_than_rows():
    with pytest.raises(ValueError, match=r"Received: shape \(3, 4\)"):
        Orthonormal()(keras.ops.ones((3, 4)))


def test_it_is_serializable():
    config = keras.constraints.serialize(Orthonormal())
    assert isinstance(keras.constraints.get(config), Orthonormal)
