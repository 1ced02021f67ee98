"""Copy a Functional or Sequential model, with other layers in some places."""

from collections.abc import Callable
from typing import TypeGuard

import keras

from keras_sac._model._walk import all_layers

Substitute = Callable[[keras.layers.Layer], keras.layers.Layer | None]

_LOOKUPS = (
    keras.layers.StringLookup,
    keras.layers.IntegerLookup,
    keras.layers.TextVectorization,
)


def is_graph(model: object) -> TypeGuard[keras.Model]:
    """Return whether a model is Functional or Sequential, so that its layers can be exchanged."""
    return isinstance(model, keras.Model) and isinstance(model, keras.Sequential | keras.Function)


def check_graph(model: object, name: str, otherwise: str) -> None:
    """Raise `ValueError` for a model whose layers cannot be exchanged, or that has none yet.

    Args:
        model: what the user passed.
        name: of the function that received it.
        otherwise: advice for a subclassed model.
    """
    if not is_graph(model):
        raise ValueError(
            f"`{name}` needs a Functional or Sequential model, whose layers can be exchanged. "
            f"Received: {type(model).__name__}. {otherwise}"
        )
    if not model.built or not model.layers:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Call it on a batch, or "
            "`model.build(input_shape)`, first."
        )


def reachable_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of a Functional or Sequential model that a copy can exchange, each once.

    Layers of nested Functional and Sequential models are among them; layers inside other models and
    inside composite layers are not.
    """
    found: dict[int, keras.layers.Layer] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inner = reachable_layers(layer) if is_graph(layer) else [layer]
        found.update((id(each), each) for each in inner)
    return list(found.values())


def copied(model: keras.Model, substitute: Substitute) -> keras.Model:
    """Return a copy of a model with substituted layers, and copies of the other layers.

    Args:
        model: built Functional or Sequential model. It is not changed.
        substitute: called once for each of `reachable_layers`; returns the layer that takes its
            place, or `None` for a copy of it. An unbuilt substitute takes the weights of the
            original layer; a built layer, or a model, keeps its own.

    Returns:
        A new model, not compiled, with the same names.
    """
    copies: dict[int, keras.layers.Layer] = {}
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        # A shared layer stays one layer, in nested models as well.
        if id(layer) not in copies:
            copies[id(layer)] = _cloned(layer, copy) if is_graph(layer) else leaf(layer)
        return copies[id(layer)]

    def leaf(layer: keras.layers.Layer) -> keras.layers.Layer:
        new = substitute(layer)
        if new is not None and (new.built or is_graph(new)):
            return new
        if new is None and isinstance(layer, _LOOKUPS):
            # Their vocabulary is neither a weight nor in their configuration.
            return layer
        if new is None:
            new = type(layer).from_config(layer.get_config())
        pairs.append((layer, new))
        return new

    new = _cloned(model, copy)
    if not new.built:
        new.build(model.input_shape)
    for layer, other in pairs:
        other.set_weights(layer.get_weights())
        for each in all_layers(other):
            # `Normalization` reads its weights when its state is finalized.
            if hasattr(each, "finalize_state"):
                each.finalize_state()
    return new


def _cloned(
    model: keras.Model, copy: Callable[[keras.layers.Layer], keras.layers.Layer]
) -> keras.Model:
    # Keras would compile the copy too, with a loss that belongs to the original model.
    compiled, model.compiled = model.compiled, False
    try:
        new = keras.models.clone_model(model, clone_function=copy)
    finally:
        model.compiled = compiled
    if not model.trainable:
        new.trainable = False
    return new
