"""Functional and Sequential models: graphs of layers that can be exchanged."""

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import keras

from keras_sac._arguments import check_keras_3


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
    check_keras_3("model", model)
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


def run_graph(
    model: keras.Model, inputs: Sequence[Any], call: Callable[[Any, tuple, dict], Any]
) -> list[Any]:
    """Run a Functional or Sequential model node by node, on anything in the place of tensors.

    Args:
        model: built.
        inputs: what stands for each of `model.inputs`.
        call: from a layer or operation, its arguments and its named arguments to its outputs.

    Returns:
        What stands for each of `model.outputs`.
    """
    if isinstance(model, keras.Sequential):
        (value,) = inputs
        for layer in model.layers:
            value = call(layer, (value,), {})
        return keras.tree.flatten(value)
    # `clone_model` calls operations in the same order, but on symbolic tensors only.
    outputs = model._run_through_graph(
        list(inputs),
        operation_fn=lambda each: lambda *args, **kwargs: call(each, args, kwargs),
    )
    return keras.tree.flatten(outputs)
