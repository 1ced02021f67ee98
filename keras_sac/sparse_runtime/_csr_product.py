"""Multiply rows by a sparse matrix, `y = x W`, with the fastest method of each backend.

The methods differ between backends, and between one row and many. All of them read `W^T`, one row
per unit, in the format `PaddedCsr`. `benchmarks/bench_deploy.py` measures the result.

- torch has CSR matrices. On the CPU, MKL multiplies them: it uses 32-bit indices directly and
  copies 64-bit ones. A product with a vector is faster than with a matrix of one column.
- TensorFlow and JAX have CSR products (on the CPU from the same library, Eigen), which are fast
  only for a multiple of eight rows of `x`. A single row is compiled by XLA instead: it multiplies
  the pieces of `W^T` by values gathered from `x`, and sums them.
- On all three, a product with many rows becomes slow when `x` no longer fits into the caches, so
  the rows are processed in groups.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_sac._backend import eagerly
from keras_sac.sparse_runtime._padded_csr import PaddedCsr

# Entries of `x` in a group: one mebibyte in float32. The number of rows is a multiple of eight.
_GROUP = 2**18
_FEWEST_ROWS = 64
_EIGHT = 8


def is_compiled_by_xla() -> bool:
    """Return whether XLA can compile all of `multiply` on this backend."""
    return keras.backend.backend() == "jax"


def place_of(x: Any) -> Any:
    """Return the device of `x` on torch, else `None`; each place needs its own `prepare`.

    A model may be moved to another device, and torch runs it on the device `meta` to find shapes.
    """
    return x.device if keras.backend.backend() == "torch" else None


def prepare(matrix: PaddedCsr, in_dim: int) -> Any:
    """Return the backend's own form of a matrix for `multiply`, made once.

    On torch this is a CSR matrix that shares the memory of the variables; on TensorFlow it holds a
    copy; on JAX it is `None`.

    Args:
        matrix: the transpose of `W`, as variables or tensors.
        in_dim: number of rows of `W`.

    Raises:
        ValueError: if the backend has no sparse product.
    """
    match keras.backend.backend():
        case "torch":
            return _torch_csr(matrix, in_dim)
        case "tensorflow":
            return _tensorflow_product(matrix, in_dim)
        case "jax":
            return None
        case other:
            raise ValueError(
                "The backend must be torch, TensorFlow or JAX for sparse products. Received: "
                f"{other!r}. Set the environment variable KERAS_BACKEND to one of them."
            )


def multiply(x: Any, matrix: PaddedCsr, prepared: Any) -> Any:
    """Return `x W`, shape `(rows, units)`.

    Args:
        x: tensor of shape `(rows, in_dim)` with the dtype of the values.
        matrix: the transpose of `W`, as variables or tensors.
        prepared: the result of `prepare` for the matrix.
    """
    match keras.backend.backend():
        case "torch":
            return _in_torch(x, prepared)
        case "jax":
            return _in_jax(x, matrix)
        case _:
            return _in_tensorflow(x, matrix, prepared)


def _rows_of_group(in_dim: int) -> int:
    return max(_FEWEST_ROWS, _GROUP // in_dim // _EIGHT * _EIGHT)


def _groups(rows: Any, in_dim: int, larger: Any = max, smaller: Any = min) -> tuple[Any, Any]:
    """Return the number of groups, at least one, and their rows, a multiple of eight."""
    size = smaller(_rows_of_group(in_dim), larger(rows + -rows % _EIGHT, _EIGHT))
    return larger(-(-rows // size), 1), size


def _torch_csr(matrix: PaddedCsr, in_dim: int) -> Any:
    import torch

    values, columns, _, offsets = map(keras.ops.convert_to_tensor, matrix)
    with warnings.catch_warnings():
        # The tests cover the only feature used here, products.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            offsets,
            columns.view(-1),
            values.view(-1),
            size=(len(offsets) - 1, in_dim),
            check_invariants=False,
        )


def _in_torch(x: Any, csr: Any) -> Any:
    import torch

    if len(x) == 1:
        return torch.mv(csr, x[0])[None]
    groups = [torch.sparse.mm(csr, each.T).T for each in x.split(_rows_of_group(x.shape[1]))]
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def _in_jax(x: Any, matrix: PaddedCsr) -> Any:
    import jax
    import jax.numpy as jnp
    from jax.experimental import sparse

    matrix = PaddedCsr(*map(keras.ops.convert_to_tensor, matrix))
    rows, in_dim = x.shape
    units = len(matrix.offsets) - 1
    if rows == 1:
        products = jnp.take(x[0], matrix.columns, mode="clip") * matrix.values
        # Adding the groups of eight one by one vectorizes; `jnp.sum` over them does not.
        lanes = products.reshape(len(products), -1, _EIGHT)
        lanes = functools.reduce(jnp.add, (lanes[:, i] for i in range(lanes.shape[1])))
        sums = jnp.matmul(lanes, jnp.ones(_EIGHT, x.dtype), precision="highest")
        return jax.ops.segment_sum(sums, matrix.rows, units, indices_are_sorted=True)[None]
    csr = sparse.BCSR(
        (matrix.values.reshape(-1), matrix.columns.reshape(-1), matrix.offsets),
        shape=(units, in_dim),
    )
    groups, size = _groups(rows, in_dim)
    padded = jnp.pad(x, ((0, groups * size - rows), (0, 0)))
    if groups == 1:
        return (csr @ padded.T).T[:rows]
    products = jax.lax.map(lambda each: (csr @ each.T).T, padded.reshape(groups, size, in_dim))
    return products.reshape(-1, units)[:rows]


class _TensorFlowProduct(NamedTuple):
    """TensorFlow's CSR matrix for many rows, and a function for one row, compiled by XLA."""

    csr: Any
    row: Callable[..., Any]
    units: int


def _tensorflow_product(matrix: PaddedCsr, in_dim: int) -> _TensorFlowProduct:
    import tensorflow as tf

    with eagerly():
        values, columns, _, offsets = map(keras.ops.convert_to_numpy, matrix)
        units = len(offsets) - 1
        row = np.repeat(np.arange(units), np.diff(offsets))
        places = np.stack([row, columns.ravel()], axis=1).astype("int64")
        # TensorFlow copies the matrix, so the padding can be left out.
        kept = values.ravel() != 0
        places, entries = places[kept], values.ravel()[kept]
        # A result of a `tf.function` carries shape and dtype into other graphs; that of a bare
        # operation does not.
        csr = tf.function(_tensorflow_csr, autograph=False)(places, entries, (units, in_dim))
    # One function per matrix: TensorFlow warns if a function is traced for many shapes.
    one = tf.function(
        functools.partial(_tensorflow_row, units=units), jit_compile=True, autograph=False
    )
    return _TensorFlowProduct(csr, one, units)


def _tensorflow_csr(places: Any, values: Any, shape: tuple[int, int]) -> Any:
    import tensorflow as tf

    return tf.raw_ops.SparseTensorToCSRSparseMatrix(
        indices=places, values=values, dense_shape=tf.constant(shape, "int64")
    )


def _tensorflow_row(x: Any, matrix: PaddedCsr, units: int) -> Any:
    import tensorflow as tf

    products = tf.gather(x[0], matrix.columns) * matrix.values
    sums = tf.linalg.matvec(products, tf.ones(products.shape[1], x.dtype))
    return tf.math.unsorted_segment_sum(sums, matrix.rows, units)[None]


def _in_tensorflow(x: Any, matrix: PaddedCsr, product: _TensorFlowProduct) -> Any:
    import tensorflow as tf

    def one() -> Any:
        # TensorFlow does not accept Keras variables as arguments of a function.
        return product.row(x, PaddedCsr(*map(tf.convert_to_tensor, matrix)))

    def many() -> Any:
        return _tensorflow_rows(x, product)

    if x.shape[0] is None:
        return tf.cond(tf.shape(x)[0] == 1, one, many)
    return one() if x.shape[0] == 1 else many()


def _tensorflow_rows(x: Any, matrix: _TensorFlowProduct) -> Any:
    import tensorflow as tf

    def product(group: Any) -> Any:
        y = tf.raw_ops.SparseMatrixMatMul(
            a=matrix.csr, b=group, transpose_b=True, transpose_output=True
        )
        return tf.ensure_shape(y, (group.shape[0], matrix.units))

    rows, in_dim = x.shape
    if rows is None:
        rows = tf.shape(x)[0]
        groups, size = _groups(rows, in_dim, tf.maximum, tf.minimum)
    else:
        groups, size = _groups(rows, in_dim)
    padded = tf.pad(x, ((0, groups * size - rows), (0, 0)))
    if isinstance(groups, int) and groups == 1:
        return product(padded)[:rows]
    products = tf.map_fn(product, tf.reshape(padded, (groups, size, in_dim)))
    return tf.reshape(products, (-1, matrix.units))[:rows]
