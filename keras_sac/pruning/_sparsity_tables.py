"""Tabulate the sparsity of a model: zero weights, and zero filters, of each kernel."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import kernels_of
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd


def sparsity(model: keras.Model) -> "pd.DataFrame":
    """Count the zeros in the kernels of a model.

    `sparsity = zeros / weights`

    Args:
        model: a built model. Its kernels are the variables that `PruningOptimizer` prunes by
            default, trainable or frozen.

    Returns:
        A table with one row for each kernel and the columns `path`, `shape`, `weights`, `zeros` and
        `sparsity`. Its `attrs["total"]` is a dict with the `weights`, `zeros` and `sparsity` of all
        kernels together.

    Raises:
        ValueError: if the model is not built or has no kernel.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.0, 1.0], [2.0, 3.0]]), np.zeros(2)])
        >>> sparsity(model).attrs["total"]["sparsity"]
        0.25
    """
    rows = []
    for kernel in kernels_of(model):
        values = keras.ops.convert_to_numpy(kernel.variable)
        rows.append(
            {
                "path": kernel.path,
                "shape": kernel.shape,
                "weights": values.size,
                "zeros": values.size - int(np.count_nonzero(values)),
            }
        )
    return _with_total(rows, "zeros", "weights")


def filter_sparsity(model: keras.Model) -> "pd.DataFrame":
    """Count the filters in the kernels of a model whose weights are all zero.

    A filter is the set of all weights of a kernel into one output channel.

    `sparsity = zero_filters / filters`

    Args:
        model: a built model.

    Returns:
        A table with one row for each kernel and the columns `path`, `shape`, `filters`,
        `zero_filters` and `sparsity`. Its `attrs["total"]` is a dict with the last three of all
        kernels together.

    Raises:
        ValueError: if the model is not built or has no kernel.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.0, 1.0], [0.0, 3.0]]), np.zeros(2)])
        >>> filter_sparsity(model).attrs["total"]["zero_filters"]
        1
    """
    rows = []
    for kernel in kernels_of(model):
        values = keras.ops.convert_to_numpy(kernel.variable)
        values = np.moveaxis(values, kernel.output_axis, 0)
        nonzero = np.any(values.reshape(len(values), -1) != 0, axis=1)
        rows.append(
            {
                "path": kernel.path,
                "shape": kernel.shape,
                "filters": nonzero.size,
                "zero_filters": nonzero.size - int(np.count_nonzero(nonzero)),
            }
        )
    return _with_total(rows, "zero_filters", "filters")


def _with_total(rows: list[dict[str, Any]], zeros: str, count: str) -> "pd.DataFrame":
    """Return the table of the rows with the column `sparsity = zeros / count` and the total."""
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in (count, zeros)}
    for row in (*rows, total):
        row["sparsity"] = row[zeros] / row[count]
    return table(rows, total=total)
