"""`y = x W` of a batch of rows, where only the entries of `W` that are not zero are kept.

What is fastest differs between backends, and between one row and many. All take `W^T`, a row for
each unit, as `PaddedCsr` has it. `benchmarks/bench_deploy.py` measures what comes out.

- torch has CSR matrices, on the CPU by MKL, which takes 32-bit indices as they are and copies
  64-bit ones. Its product with a vector is faster than that with a matrix of one column.
- TensorFlow and JAX have CSR products (on the CPU of the same library, Eigen), which are only fast
  for a multiple of eight rows of `x`. A single row is left to XLA: it multiplies the pieces of
  `W^T` by what is gathered from `x`, and sums them.
- In all three, many rows are slow where their columns no longer fit into the caches: they are taken
  in groups.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_sac import _backend
from keras_sac.sparse_runtime._padded_csr import PaddedCsr

# Numbers of `x` in a group: a mebibyte in float32. Rows are a multiple of eight.
_GROUP = 2**18
_FEWEST_ROWS = 64
_EIGHT = 8


def is_compiled_by_xla() -> bool:
    """Whether all of `multiply` can be compiled by XLA on this backend."""
    return keras.backend.backend() == "jax"


def place_of(x: Any) -> Any:
    """Return for what `prepare` must be called again: a model may be moved to another device.

    Where only shapes are wanted, torch runs a model on the device `meta`.
    """
    return x.device if keras.backend.backend() == "torch" else None


def prepare(matrix: PaddedCsr, in_dim: int) -> Any:
    """Return what `multiply` needs besides the arrays, made once from variables or tensors.

    The CSR matrix of torch and of TensorFlow. Torch's is the memory of the variables itself,
    TensorFlow's is a copy.
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
                "There is a sparse product for torch, TensorFlow and JAX. Received: the backend "
                f"{other!r}. Choose another with the environment variable KERAS_BACKEND."
            )


def multiply(x: Any, matrix: PaddedCsr, prepared: Any) -> Any:
    """Return `x W`, `(rows, units)`.

    Args:
        x: `(rows, in_dim)`, of the dtype of the values.
        matrix: the transpose of `W`, as variables or tensors.
        prepared: what `prepare` returned.
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
    """Return how many groups of how many rows, a multiple of eight, hold all rows; at least one."""
    size = smaller(_rows_of_group(in_dim), larger(rows + -rows % _EIGHT, _EIGHT))
    return larger(-(-rows // size), 1), size


def _torch_csr(matrix: PaddedCsr, in_dim: int) -> Any:
    import torch

    values, columns, _, offsets = map(keras.ops.convert_to_tensor, matrix)
    with warnings.catch_warnings():
        # Of what is in beta there, this only uses the products, which the tests hold.
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
        # Added side by side, a piece becomes eight sums in a vectorized loop; summed, it does not.
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
    """A CSR matrix of TensorFlow for many rows, and a function for one, compiled by XLA."""

    csr: Any
    row: Callable[..., Any]
    units: int


def _tensorflow_product(matrix: PaddedCsr, in_dim: int) -> _TensorFlowProduct:
    import tensorflow as tf

    with _backend.eagerly():
        values, columns, _, offsets = map(keras.ops.convert_to_numpy, matrix)
        units = len(offsets) - 1
        row = np.repeat(np.arange(units), np.diff(offsets))
        places = np.stack([row, columns.ravel()], axis=1).astype("int64")
        # A copy anyway, so without what the rows were filled up with.
        kept = values.ravel() != 0
        places, entries = places[kept], values.ravel()[kept]
        # What comes out of a graph tells its shape and dtype to another; a bare operation does not.
        csr = tf.function(_tensorflow_csr, autograph=False)(places, entries, (units, in_dim))
    # One for each matrix: TensorFlow warns where one function is traced for many shapes.
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
        # Keras takes its own variables for tensors here, TensorFlow does not.
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
