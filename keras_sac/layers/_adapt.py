"""Compute a layer's basis from the inputs of the layer, in one pass over the data."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._arguments import is_verbose
from keras_sac._model import labelled_batches
from keras_sac.bases import Basis, Moments, with_statistics
from keras_sac.layers._basis_source import basis_from_moments, needs_data, needs_labels
from keras_sac.layers._basis_state import missing_basis
from keras_sac.layers._learner_scale import input_gain
from keras_sac.layers._subspace_weights import drawn_learner, initial_basis


def adapt_layer(
    layer: keras.layers.Layer, data: Any, labels: Any, batch_size: int | None, verbose: str | int
) -> None:
    """Set basis, mean and learner of a SAC layer from its inputs; see `SubspaceLayer.adapt`."""
    progress = is_verbose(verbose)
    batch_size = layer.adapt_batch_size if batch_size is None else batch_size
    basis, input_shape = _basis_of_inputs(layer, data, labels, batch_size, progress)
    if not layer.built:
        layer.build(input_shape)
    layer._gain = input_gain(basis, layer.center)
    layer.basis.assign(basis.matrix)
    if layer.mean is not None:
        layer.mean.assign(basis.mean)
    layer.learner.assign(drawn_learner(layer, layer.learner.shape, layer.learner.dtype))
    layer._basis_is_set = True


def _basis_of_inputs(
    layer: keras.layers.Layer, data: Any, labels: Any, batch_size: int, progress: bool
) -> tuple[Basis, tuple[int | None, ...]]:
    """Return the basis that the layer asks for, and the shape of its inputs.

    The layer does not change, so a pass that fails leaves it as it was.
    """
    moments = Moments()
    with_labels = needs_labels(layer.kind)
    shape: tuple[int, ...] = ()
    for x, y in labelled_batches(data, labels, batch_size=batch_size, progress=progress):
        if x.ndim < 2:
            raise ValueError(
                f"`data` of {layer.name!r}.adapt must hold batches of inputs, (batch, ..., "
                f"features). Received: a batch of shape {x.shape}. Pass `x[None]` for a single "
                "sample."
            )
        step = layer.samples_at_once(x)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            _update(moments, layer, x[part], y[part] if with_labels and y is not None else None)
        shape = x.shape[1:]
    if needs_data(layer.kind):
        basis = basis_from_moments(layer.kind, moments, layer.rank)
    else:
        basis = with_statistics(_present_basis(layer, shape), moments)
    return basis, (None, *shape)


def _update(
    moments: Moments, layer: keras.layers.Layer, x: np.ndarray, y: np.ndarray | None
) -> None:
    rows = layer.rows(x)
    if layer.built and rows.shape[1] != layer.in_dim:
        raise ValueError(
            f"`data` must have the input width of {layer.name!r}, {layer.in_dim}. Received: a "
            f"batch of shape {x.shape}, of width {rows.shape[1]}."
        )
    moments.update(rows, _one_label_per_row(y, x.shape, len(rows)))


def _one_label_per_row(
    labels: np.ndarray | None, shape: tuple[int, ...], rows: int
) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.ndim == 1 and rows % len(labels) == 0:
        # A sample is read as several rows (time steps, patches); each of them has its label.
        return np.repeat(labels, rows // len(labels))
    # One label per position. `Moments` refuses all other shapes and says what it expects.
    return labels.reshape(-1) if labels.shape == shape[:-1] else labels


def _present_basis(layer: keras.layers.Layer, shape: tuple[int, ...]) -> Basis:
    if layer.built and not _backend.value_is_nan(layer.basis):
        return Basis(ops.convert_to_numpy(layer.basis), kind=layer.kind)
    basis = None if layer.built else initial_basis(layer, layer.input_grid((None, *shape)))
    if basis is None:
        raise missing_basis(layer)
    return basis
