"""CSR products against NumPy in float64, compiled as each backend compiles them."""

import keras
import numpy as np
import pytest

from keras_sac.sparse_runtime import _csr_product
from keras_sac.sparse_runtime._padded_csr import WIDTH, PaddedCsr, padded_csr

# (in_dim, units), fraction of zeros.
KERNELS = [((65, 33), 0.9), ((100, 7), 0.5), ((40, 12), 0.0), ((9, 5), 1.0), ((1, 1), 0.0)]


def kernel(rng, shape, sparsity):
    values = rng.normal(size=shape).astype("float32")
    values[rng.random(shape) < sparsity] = 0
    return values


def compiled(function, dynamic=False):
    """A function of one array, compiled; on TensorFlow also for a batch that is not known."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        fast = tf.function(function, autograph=False, reduce_retracing=dynamic)
        return lambda x: fast(tf.constant(x))
    return lambda x: function(keras.ops.convert_to_tensor(x))


def product_with(values, **kwargs):
    matrix = PaddedCsr(*map(keras.ops.convert_to_tensor, padded_csr(values)))
    prepared = _csr_product.prepare(matrix, len(values))
    return compiled(lambda x: _csr_product.multiply(x, matrix, prepared), **kwargs)


def check(product, values, x):
    y = keras.ops.convert_to_numpy(product(x))
    exact = x.astype("float64") @ values
    assert y.shape == exact.shape
    scale = np.abs(x).astype("float64") @ np.abs(values)
    assert (np.abs(y - exact) <= 1e-6 * scale + 1e-30).all()


@pytest.mark.parametrize(("shape", "sparsity"), KERNELS)
def test_padded_rows_are_the_transposed_kernel(shape, sparsity, rng):
    values = kernel(rng, shape, sparsity)
    matrix = padded_csr(values)
    dense = np.zeros(shape, "float32")
    np.add.at(dense, (matrix.columns, matrix.rows[:, None]), matrix.values)
    np.testing.assert_array_equal(dense, values)
    assert matrix.values.shape == matrix.columns.shape == (len(matrix.rows), WIDTH)
    assert matrix.offsets[0] == 0
    assert matrix.offsets[-1] == matrix.values.size
    by_offsets = np.repeat(np.arange(shape[1]), np.diff(matrix.offsets))
    np.testing.assert_array_equal(by_offsets, np.repeat(matrix.rows, WIDTH))
    # No row is filled up by a whole piece, but where there would be none at all.
    most = np.count_nonzero(values) + shape[1] * (WIDTH - 1)
    assert matrix.values.size <= max(most, WIDTH)


def test_a_row_longer_than_a_piece_and_an_empty_one(rng):
    values = kernel(rng, (3 * WIDTH + 5, 3), 0.0)
    values[:, 1] = 0
    matrix = padded_csr(values)
    assert matrix.rows.tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    product = product_with(values)
    for rows in (1, 3):
        check(product, values, rng.normal(size=(rows, len(values))).astype("float32"))


@pytest.mark.parametrize(("shape", "sparsity"), KERNELS)
def test_product_is_that_of_numpy(shape, sparsity, rng):
    values = kernel(rng, shape, sparsity)
    product = product_with(values)
    for rows in (1, 2, 8, 9, 70, 0):
        check(product, values, rng.normal(size=(rows, shape[0])).astype("float32"))


def test_many_rows_in_groups(rng, monkeypatch):
    monkeypatch.setattr(_csr_product, "_GROUP", 1)
    monkeypatch.setattr(_csr_product, "_FEWEST_ROWS", 8)
    values = kernel(rng, (20, 11), 0.7)
    product = product_with(values)
    for rows in (8, 9, 16, 23, 40):
        check(product, values, rng.normal(size=(rows, 20)).astype("float32"))


def test_batches_of_changing_size(rng, monkeypatch):
    monkeypatch.setattr(_csr_product, "_GROUP", 1)
    monkeypatch.setattr(_csr_product, "_FEWEST_ROWS", 8)
    values = kernel(rng, (20, 11), 0.7)
    product = product_with(values, dynamic=True)
    for rows in (3, 1, 8, 30, 1, 0):
        check(product, values, rng.normal(size=(rows, 20)).astype("float32"))


def test_groups_hold_all_rows_in_multiples_of_eight():
    for in_dim in (1, 64, 4096, 10**6):
        for rows in (0, 1, 7, 8, 9, 64, 65, 1000, 10**6):
            groups, size = _csr_product._groups(rows, in_dim)
            assert groups >= 1
            assert size % 8 == 0
            assert groups * size >= rows
            # Nor more than there must be.
            assert (groups - 1) * size < max(rows, 1)
            assert size <= max(64, 2**18 // in_dim)


def test_an_unknown_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    matrix = padded_csr(np.eye(3, dtype="float32"))
    with pytest.raises(ValueError, match="torch, TensorFlow or JAX.*Received: 'openvino'"):
        _csr_product.prepare(matrix, 3)
