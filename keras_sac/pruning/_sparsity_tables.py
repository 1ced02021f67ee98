"""Tabulate the sparsity of a model: zero weights, and zero filters, of each kernel."""

import warnings
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import Kernel, describe, kernels_of
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd


def sparsity(model: keras.Model) -> "pd.DataFrame":
    """Count the zeros in the kernels of a model.

    `sparsity = zeros / weights`

    A quantized kernel is read unpacked, a kernel with LoRA adapters with their product added.

    Args:
        model: a built model. Its kernels are the variables that `PruningOptimizer` prunes by
            default, trainable or frozen. A warning says if these are less than 90 % of the weights
            in matrices and larger arrays; `targets=` of the pruning functions selects others.

    Returns:
        A table with one row for each kernel and the columns `path`, `shape`, `weights`, `zeros` and
        `sparsity`. Its `attrs["total"]` is a dict with the `weights`, `zeros` and `sparsity` of all
        kernels together. Its `attrs["skipped"]` is a dict from the path of each other variable to
        the reason it is not counted.

    Raises:
        ValueError: if the model is not built or has no kernel.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.0, 1.0], [2.0, 3.0]]), np.zeros(2)])
        >>> sparsity(model).attrs["total"]["sparsity"]
        0.25
    """
    rows = []
    kernels, skipped = _counted(model)
    for kernel in kernels:
        values = kernel.values()
        rows.append(
            {
                "path": kernel.path,
                "shape": values.shape,
                "weights": values.size,
                "zeros": values.size - int(np.count_nonzero(values)),
            }
        )
    return _with_total(rows, "zeros", "weights", skipped)


def filter_sparsity(model: keras.Model) -> "pd.DataFrame":
    """Count the filters in the kernels of a model whose weights are all zero.

    A filter is the set of all weights of a kernel into one output channel.

    `sparsity = zero_filters / filters`

    Args:
        model: a built model.

    Returns:
        A table with one row for each kernel and the columns `path`, `shape`, `filters`,
        `zero_filters` and `sparsity`. Its `attrs["total"]` is a dict with the last three of all
        kernels together, its `attrs["skipped"]` as for `sparsity`.

    Raises:
        ValueError: if the model is not built or has no kernel.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.0, 1.0], [0.0, 3.0]]), np.zeros(2)])
        >>> filter_sparsity(model).attrs["total"]["zero_filters"]
        1
    """
    rows = []
    kernels, skipped = _counted(model)
    for kernel in kernels:
        values = kernel.values()
        filters = np.moveaxis(values, kernel.output_axis, 0)
        nonzero = np.any(filters.reshape(len(filters), -1) != 0, axis=1)
        rows.append(
            {
                "path": kernel.path,
                "shape": values.shape,
                "filters": nonzero.size,
                "zero_filters": nonzero.size - int(np.count_nonzero(nonzero)),
            }
        )
    return _with_total(rows, "zero_filters", "filters", skipped)


def _counted(model: keras.Model) -> tuple[list[Kernel], dict[str, str]]:
    """Return the kernels of a model, and why each other variable is left out; warn if it is much.

    Raises:
        ValueError: if the model is not built or has no kernel.
    """
    kernels = kernels_of(model)
    others = [k for k in describe(model.weights, [model]) if k.skip_reason is not None]
    # Not biases and depthwise kernels, and not what a layer never trains, such as the basis of SAC.
    large = [k for k in others if not k.never and k.variable.trainable]
    left_out, counted = sum(k.size for k in large), sum(k.size for k in kernels)
    if left_out > 0.1 * (counted + left_out):
        listed = sorted(large, key=lambda k: -k.size)[:3]
        warnings.warn(
            f"The table leaves out {left_out:,} of {counted + left_out:,} weights: "
            f"{', '.join(f'{k.path} {k.shape} ({k.skip_reason})' for k in listed)}"
            f"{', ...' if len(large) > 3 else ''}. They are not pruned by default; select them by "
            "`targets=`. All reasons are in `attrs['skipped']` of the table.",
            stacklevel=3,
        )
    return kernels, {k.path: k.skip_reason or "" for k in others}


def _with_total(
    rows: list[dict[str, Any]], zeros: str, count: str, skipped: dict[str, str]
) -> "pd.DataFrame":
    """Return the table of the rows with the column `sparsity = zeros / count` and the total."""
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in (count, zeros)}
    for row in (*rows, total):
        row["sparsity"] = row[zeros] / row[count]
    made = table(rows, total=total)
    made.attrs["skipped"] = skipped
    return made
