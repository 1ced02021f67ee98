"""Tables of how sparse a model is."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import kernels_of
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd


def sparsity(model: keras.Model) -> "pd.DataFrame":
    """Count the zeros of the kernels of a model.

    `sparsity = zeros / weights`

    Args:
        model: built; kernels are what `PruningOptimizer` prunes by default, trained or frozen.

    Returns:
        One row for each kernel: `path`, `shape`, `weights`, `zeros`, `sparsity`. The attribute
        `attrs["total"]` is a dict with `weights`, `zeros` and `sparsity` of all kernels together.

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
    """Count the filters of a model whose weights are all zero.

    A filter is all weights of a kernel into one output channel.

    Args:
        model: built.

    Returns:
        One row for each kernel: `path`, `shape`, `filters`, `zero_filters`, `sparsity` (their
        ratio). The attribute `attrs["total"]` is a dict with the last three of all kernels.

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
        used = np.any(values.reshape(len(values), -1) != 0, axis=1)
        rows.append(
            {
                "path": kernel.path,
                "shape": kernel.shape,
                "filters": used.size,
                "zero_filters": used.size - int(np.count_nonzero(used)),
            }
        )
    return _with_total(rows, "zero_filters", "filters")


def _with_total(rows: list[dict[str, Any]], part: str, whole: str) -> "pd.DataFrame":
    counts = {name: sum(row[name] for row in rows) for name in (whole, part)}
    for each in (*rows, counts):
        each["sparsity"] = each[part] / each[whole]
    return table(rows, total=counts)
