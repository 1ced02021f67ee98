"""From a layer's inputs to its basis: one pass over the data."""

from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from keras_sac._model import labelled_batches
from keras_sac.bases import Basis, Moments, with_statistics
from keras_sac.layers import _basis_source

if TYPE_CHECKING:
    from keras_sac.layers._subspace_layer import SubspaceLayer


def basis_of_inputs(
    layer: "SubspaceLayer", data: Any, labels: Any, batch_size: int, progress: bool
) -> tuple[Basis, tuple[int | None, ...]]:
    """Return the basis that `layer` asks for, computed from its inputs, and the inputs' shape.

    The layer is read, never changed: a pass that fails leaves it as it was.
    """
    moments = Moments()
    with_labels = layer.kind.startswith("lda")
    shape: tuple[int, ...] = ()
    for x, y in labelled_batches(data, labels, batch_size=batch_size, progress=progress):
        if x.ndim < 2:
            raise ValueError(
                f"{layer.name!r} is adapted to batches of inputs, (batch, ..., features); received "
                f"a batch of shape {x.shape}. Pass `x[None]` for a single sample."
            )
        step = layer._samples_at_once(x)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            _update(moments, layer, x[part], y[part] if with_labels and y is not None else None)
        shape = x.shape[1:]
    if _basis_source.needs_data(layer.kind):
        basis = _basis_source.from_moments(layer.kind, moments, layer.rank)
    else:
        basis = with_statistics(_present_basis(layer, shape), moments)
    return basis, (None, *shape)


def _update(moments: Moments, layer: "SubspaceLayer", x: np.ndarray, y: np.ndarray | None) -> None:
    rows = layer._samples(x)
    if layer.built and rows.shape[1] != layer.in_dim:
        raise ValueError(
            f"{layer.name!r} takes inputs of width {layer.in_dim}; received a batch of shape "
            f"{x.shape}, of width {rows.shape[1]}."
        )
    moments.update(rows, _one_label_a_row(y, x.shape, len(rows)))


def _one_label_a_row(
    labels: np.ndarray | None, shape: tuple[int, ...], rows: int
) -> np.ndarray | None:
    if labels is None:
        return None
    if labels.ndim == 1 and rows % len(labels) == 0:
        # A sample is read as several rows (time steps, patches); all of them have its label.
        return np.repeat(labels, rows // len(labels))
    # One label a position, or something that `Moments` refuses and says what it expects.
    return labels.reshape(-1) if labels.shape == shape[:-1] else labels


def _present_basis(layer: "SubspaceLayer", shape: tuple[int, ...]) -> Basis:
    if layer.built and not layer._basis_values_are_unset():
        return Basis(ops.convert_to_numpy(layer.basis), kind=layer.kind)
    basis = None if layer.built else layer._initial_basis(layer._grid((None, *shape)))
    if basis is None:
        raise ValueError(layer._no_basis_message())
    return basis
