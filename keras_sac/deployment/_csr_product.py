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

Calling SciPy from inside a compiled step was not faster on either backend, and needs Python there.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac.deployment._padded_csr import PaddedCsr

# Numbers of `x` in a group: a mebibyte in float32. Rows are a multiple of eight.
_GROUP = 2**18
_FEWEST_ROWS = 64
_EIGHT = 8


def is_compiled_by_xla() -> bool:
    """Whether all of `multiply` can be compiled by XLA on this backend."""
    return keras.backend.backend() == "jax"


def prepare(matrix: PaddedCsr, in_dim: int) -> Any:
    """Return what `multiply` needs besides the arrays, made once from variables or arrays.

    TensorFlow's CSR matrix is an object of its own, with a copy of the numbers.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        _say_nothing_of_beta()
    if backend != "tensorflow":
        return None
    with _backend.eagerly():
        values, columns, _, offsets = map(keras.ops.convert_to_numpy, matrix)
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        places = np.stack([row, columns.ravel()], axis=1).astype("int64")
        return _tensorflow_csr()(places, values.ravel(), (len(offsets) - 1, in_dim))


def multiply(x: Any, matrix: PaddedCsr, prepared: Any) -> Any:
    """Return `x W`, `(rows, units)`.

    Args:
        x: `(rows, in_dim)`, of the dtype of the values.
        matrix: the transpose of `W`, as tensors or variables.
        prepared: what `prepare` returned.
    """
    arrays = PaddedCsr(*map(keras.ops.convert_to_tensor, matrix))
    match keras.backend.backend():
        case "torch":
            return _in_torch(x, arrays)
        case "jax":
            return _in_jax(x, arrays)
        case "tensorflow":
            return _in_tensorflow(x, arrays, prepared)
        case other:
            raise ValueError(
                f"There is a sparse product for torch, TensorFlow and JAX. Received: the backend "
                f"{other!r}. Choose another with the environment variable KERAS_BACKEND."
            )


def _rows_of_group(in_dim: int) -> int:
    return max(_FEWEST_ROWS, _GROUP // in_dim // _EIGHT * _EIGHT)


def _groups(rows: Any, in_dim: int, larger: Any = max, smaller: Any = min) -> tuple[Any, Any]:
    """Return how many groups of how many rows, a multiple of eight, hold all rows; at least one."""
    size = smaller(_rows_of_group(in_dim), larger(rows + -rows % _EIGHT, _EIGHT))
    return larger(-(-rows // size), 1), size


def _say_nothing_of_beta() -> None:
    """Let torch warn where nobody sees it, once a process, that its CSR matrices are new."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1), check_invariants=False)


def _in_torch(x: Any, matrix: PaddedCsr) -> Any:
    import torch

    csr = torch.sparse_csr_tensor(
        matrix.offsets,
        matrix.columns.view(-1),
        matrix.values.view(-1),
        size=(len(matrix.offsets) - 1, x.shape[1]),
        check_invariants=False,
    )
    if len(x) == 1:
        return torch.mv(csr, x[0])[None]
    groups = [torch.sparse.mm(csr, each.T).T for each in x.split(_rows_of_group(x.shape[1]))]
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def _in_jax(x: Any, matrix: PaddedCsr) -> Any:
    import jax
    import jax.numpy as jnp
    from jax.experimental import sparse

    rows, in_dim = x.shape
    units = len(matrix.offsets) - 1
    if rows == 1:
        products = jnp.take(x[0], matrix.columns, mode="clip") * matrix.values
        sums = jnp.matmul(products, jnp.ones(products.shape[1], x.dtype), precision="highest")
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


def _in_tensorflow(x: Any, matrix: PaddedCsr, csr: Any) -> Any:
    import tensorflow as tf

    # Keras takes its own variables for tensors here, TensorFlow does not.
    matrix = PaddedCsr(*map(tf.convert_to_tensor, matrix))
    units = matrix.offsets.shape[0] - 1

    def one() -> Any:
        return _tensorflow_row()(x, matrix.values, matrix.columns, matrix.rows, units)

    def many() -> Any:
        return _tensorflow_rows(x, csr, units)

    if x.shape[0] is None:
        return tf.cond(tf.shape(x)[0] == 1, one, many)
    return one() if x.shape[0] == 1 else many()


def _tensorflow_rows(x: Any, csr: Any, units: int) -> Any:
    import tensorflow as tf

    def product(group: Any) -> Any:
        y = tf.raw_ops.SparseMatrixMatMul(a=csr, b=group, transpose_b=True, transpose_output=True)
        return tf.ensure_shape(y, (group.shape[0], units))

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
    return tf.reshape(products, (-1, units))[:rows]


@functools.cache
def _tensorflow_row() -> Callable[..., Any]:
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def row(x: Any, values: Any, columns: Any, rows: Any, units: int) -> Any:
        products = tf.gather(x[0], columns) * values
        sums = tf.linalg.matvec(products, tf.ones(products.shape[1], x.dtype))
        return tf.math.unsorted_segment_sum(sums, rows, units)[None]

    return row


@functools.cache
def _tensorflow_csr() -> Callable[..., Any]:
    import tensorflow as tf

    # What comes out of a graph tells its shape and dtype to another graph; a bare operation not.
    @tf.function(reduce_retracing=True, autograph=False)
    def csr(places: Any, values: Any, shape: Any) -> Any:
        return tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=places, values=values, dense_shape=tf.cast(shape, "int64")
        )

    return csr
