"""Check whether a SAC layer is built and has a basis, and explain how it gets one."""

from typing import Any

import keras

from keras_sac import _backend
from keras_sac.layers._basis_source import needs_data


def require_built(layer: keras.layers.Layer, name: str) -> None:
    """Raise a `ValueError` if the layer is not built; `name` is what the user asked for."""
    if not layer.built:
        raise ValueError(
            f"{layer.name!r} is not built yet, so `{name}` is not available. Call the layer on an "
            "input, `build(input_shape)` it, or `adapt(data)` it first."
        )


def require_basis(layer: keras.layers.Layer, inputs: Any, training: bool | None) -> None:
    """Raise a `ValueError` if a call needs the values of the basis and they are unknown."""
    # Building a model runs `call` symbolically before there is a basis, which is fine. A given
    # `training`, or a real value, means that somebody wants a result.
    if training is None and _backend.is_traced(inputs):
        return
    missing = basis_is_missing(layer)
    if missing:
        raise missing_basis(layer)
    # `False`: the weights came from a file, or from `set_weights`.
    layer._basis_is_set = missing is False


def basis_is_missing(layer: keras.layers.Layer) -> bool | None:
    """Return whether basis or mean are unknown; `None` if no value can be read here."""
    if layer._basis_is_set:
        return False
    missing = _backend.value_is_nan(layer.basis)
    if layer.mean is not None and not missing:
        return _backend.value_is_nan(layer.mean)
    return missing


def missing_basis(layer: keras.layers.Layer) -> ValueError:
    """Return the error for a layer that is used before its basis or its mean is known."""
    missing, advice = "basis", "Compute it with `layer.adapt(data)`, on the inputs of this layer"
    if layer.kind == "custom":
        advice = "Make the layer with the matrix itself (`basis=matrix`)"
    elif not needs_data(layer.kind):
        missing = "mean"
    return ValueError(
        f"{layer.name!r} has no {missing} yet (kind {layer.kind!r}, rank {layer.rank}). {advice}, "
        "before the model is used, or load the weights that it was saved with."
    )
