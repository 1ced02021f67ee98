"""Estimate the statistics of batch normalization anew, after a model was changed."""

from typing import Any

import keras
import numpy as np

from keras_sac._arguments import integer
from keras_sac._model import check_model, input_batches, layer_paths
from keras_sac.calibration._calibration import Calibration
from keras_sac.calibration._observed_kernels import as_floats
from keras_sac.calibration._products import Product, check_finite, see_products


def recalibrate_batch_norm(model: keras.Model, data: Any, *, batch_size: int = 64) -> None:
    """Set the moving statistics of each batch normalization to those of data.

    `moving_mean = E[x]`, `moving_variance = E[(x - E[x])^2]`, where `x` is what the layer receives
    after those before it have been set. After a change that shifts what layers receive, this often
    restores much of the accuracy; after `convert_to_sac` and `prune_with_data`, which have done
    what helps, seldom.

    Args:
        model: built; changed in place.
        data: what `predict` takes, or batches `x` or `(x, y)`; a thousand samples or more.
        batch_size: samples in a batch, for arrays.

    Raises:
        ValueError: if the model is not built, the data do not fit it, or a layer receives values
            that are not finite. The statistics are unchanged then.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import recalibrate_batch_norm
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> recalibrate_batch_norm(model, np.array([[1.0], [3.0]]))
        >>> float(norm.moving_mean[0]), float(norm.moving_variance[0])
        (2.0, 1.0)
    """
    check_model(model)
    batch_size = integer("batch_size", batch_size, 1)
    _recalibrate(model, [inputs for inputs, _ in input_batches(data, batch_size)])


def _recalibrate(model: keras.Model, batches: list[Any]) -> None:
    before = _batch_norm_statistics(model)
    try:
        for layer, calls in _in_order(model, batches[0]):
            mean, variance = _statistics(model, layer, calls, batches)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
    except BaseException:
        _restore(before)
        raise


def _batch_norm_statistics(model: keras.Model) -> list[tuple[keras.Variable, np.ndarray]]:
    """Return the moving statistics of a model: variables, and copies of their values."""
    variables = [
        variable
        for layer in layer_paths(model).values()
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
    return [(v, np.array(keras.ops.convert_to_numpy(v))) for v in variables]


def _restore(statistics: list[tuple[keras.Variable, np.ndarray]]) -> None:
    """Assign what `_batch_norm_statistics` returned."""
    for variable, value in statistics:
        variable.assign(value)


def _in_order(model: keras.Model, inputs: Any) -> list[tuple[Any, int]]:
    """Return the batch normalizations that a pass calls, by first calls, and how often."""
    found: dict[int, tuple[Any, int]] = {}
    layers = [
        layer
        for layer in layer_paths(model).values()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]

    def see(product: Product) -> None:
        _, calls = found.get(id(product.layer), (None, 0))
        found[id(product.layer)] = (product.layer, calls + 1)

    if layers:
        see_products(model, inputs, layers, see)
    return list(found.values())


def _statistics(
    model: keras.Model, layer: Any, calls: int, batches: list[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of each channel of what a layer receives."""
    count, mean, scatter = 0, np.zeros(()), np.zeros(())

    def see(product: Product) -> None:
        nonlocal count, mean, scatter
        rows = np.moveaxis(as_floats(product.inputs), layer.axis, -1)
        rows = rows.reshape(-1, rows.shape[-1])
        if product.mask is not None:
            kept = keras.ops.convert_to_numpy(product.mask).astype(bool).reshape(-1)
            rows = rows[kept] if len(kept) == len(rows) else rows
        check_finite(rows, f"the inputs of {layer.name!r}")
        if not len(rows):
            return
        # Chan's merge of a batch with those before it.
        own = rows.mean(axis=0, dtype=np.float64)
        total = count + len(rows)
        difference = own - mean
        scatter = scatter + np.square(rows - own).sum(axis=0, dtype=np.float64)
        scatter = scatter + difference**2 * (count * len(rows) / total)
        mean = mean + difference * (len(rows) / total)
        count = total

    for inputs in batches:
        see_products(model, inputs, [layer], see, calls=calls)
    return mean, scatter / max(count, 1)


def recalibrate_where_it_helps(model: keras.Model, calibration: Calibration) -> bool:
    """Recalibrate a changed copy of a calibrated model if that lowers the loss of its samples.

    Nothing happens without labels, or where the loss has not risen: a model that computes what the
    original does keeps the statistics of its training.

    Returns:
        Whether the statistics have changed.
    """
    before = _batch_norm_statistics(model)
    if calibration.loss is None or not before:
        return False
    loss = calibration.mean_loss(model)
    if loss <= calibration.loss + 1e-4 * abs(calibration.loss):
        return False
    _recalibrate(model, [inputs for inputs, _, _ in calibration.batches()])
    if calibration.mean_loss(model) < loss:
        return True
    _restore(before)
    return False
