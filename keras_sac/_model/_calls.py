"""Seeing what each layer of a model does, in a forward pass that leaves the model as it is."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_sac import _backend
from keras_sac._model._walk import all_layers, layer_paths


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer: what it was given, what it put out, and what of that it made itself."""

    layer: keras.layers.Layer
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    outputs: list[Any]
    own: list[Any]


@contextlib.contextmanager
def watched_calls(model: keras.Model, see: Callable[[Call], None]) -> Iterator[None]:
    """Return a context in which `see` is told of each call of a layer, inner ones first.

    A tensor is a layer's own unless a layer inside it made it, so each is the own of one call.
    Variables, losses and gradients are not touched: what calls change of a state lasts as long as
    the context.

    Args:
        model: built.
        see: called after each call that puts out tensors.

    Raises:
        ValueError: inside the context, if a layer without its weights is called.
    """
    # For each call that is going on, what the layers inside it have put out.
    going_on: list[list[Any]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras.StatelessScope())
        stack.enter_context(_backend.without_gradients())
        for each in all_layers(model):
            # A call forgets the losses of the call before it, and adds its own.
            stack.enter_context(_replaced(each, "_losses", []))
            stack.enter_context(_replaced(each, "_loss_ids", set()))
        for layer in layer_paths(model).values():
            if not layer.built and not getattr(layer.build, "_is_default", False):
                stack.enter_context(_replaced(layer, "build", _refuse(layer)))
            # Keras calls the other method of a quantized layer.
            name = "call" if layer.quantization_mode is None else "quantized_call"
            method = getattr(layer, name)
            stack.enter_context(_replaced(layer, name, _watching(layer, method, going_on, see)))
        yield


def _watching(
    layer: keras.layers.Layer,
    method: Callable[..., Any],
    going_on: list[list[Any]],
    see: Callable[[Call], None],
) -> Callable[..., Any]:
    @functools.wraps(method)
    def watching(*args: Any, **kwargs: Any) -> Any:
        going_on.append([])
        try:
            outputs = method(*args, **kwargs)
        finally:
            inside = going_on.pop()
        tensors = [each for each in keras.tree.flatten(outputs) if keras.ops.is_tensor(each)]
        if going_on:
            going_on[-1].extend(tensors)
        own = [each for each in tensors if not any(each is other for other in inside)]
        if tensors:
            see(Call(layer, (args, kwargs), tensors, own))
        return outputs

    return watching


def _refuse(layer: keras.layers.Layer) -> Callable[..., None]:
    def build(*args: Any, **kwargs: Any) -> None:
        raise ValueError(
            f"The layer {layer.name!r} has no weights yet, though the model that calls it is "
            "built. Call the model on a batch first."
        )

    return build


@contextlib.contextmanager
def _replaced(layer: keras.layers.Layer, name: str, function: Any) -> Iterator[None]:
    # Past `__setattr__`, which tracks what it is given, and refuses it where a layer is locked.
    attributes = vars(layer)
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = function
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before
