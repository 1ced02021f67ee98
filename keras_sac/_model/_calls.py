"""Observe each call of a layer in a forward pass, without changing the model."""

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
    """One call of a layer.

    Attributes:
        layer: the layer.
        arguments: of the call, positional and by name.
        outputs: the tensors that it returned.
        own: those of them that no layer inside it made.
    """

    layer: keras.layers.Layer
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    outputs: list[Any]
    own: list[Any]


@contextlib.contextmanager
def watched_calls(
    model: keras.Model, see: Callable[[Call], Any], *, gradients: bool = False
) -> Iterator[None]:
    """Return a context in which `see` receives each call of a layer, inner layers first.

    Each tensor belongs to one call: the one of the innermost layer that made it. Variables, losses
    and gradients are not changed; a state that a call updates is restored after the context.

    Args:
        model: built.
        see: called after each call that returns tensors. What it returns, unless `None`, replaces
            the outputs of the call.
        gradients: whether torch records what it needs for gradients.

    Raises:
        ValueError: inside the context, if a layer is called that has no weights yet.
    """
    # For each call in progress, the outputs of the layers inside it.
    going_on: list[list[Any]] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras.StatelessScope())
        if not gradients:
            stack.enter_context(_backend.without_gradients())
        for each in all_layers(model):
            # A call drops the losses of the call before it, and adds its own.
            stack.enter_context(replaced(each, "_losses", []))
            stack.enter_context(replaced(each, "_loss_ids", set()))
        for layer in layer_paths(model).values():
            if not layer.built and not getattr(layer.build, "_is_default", False):
                stack.enter_context(replaced(layer, "build", _refuse(layer)))
            # Keras calls another method of a quantized layer.
            name = "call" if layer.quantization_mode is None else "quantized_call"
            method = getattr(layer, name)
            stack.enter_context(replaced(layer, name, _watching(layer, method, going_on, see)))
        yield


def _watching(
    layer: keras.layers.Layer,
    method: Callable[..., Any],
    going_on: list[list[Any]],
    see: Callable[[Call], Any],
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
        instead = see(Call(layer, (args, kwargs), tensors, own)) if tensors else None
        return outputs if instead is None else instead

    return watching


def _refuse(layer: keras.layers.Layer) -> Callable[..., None]:
    def build(*args: Any, **kwargs: Any) -> None:
        raise ValueError(
            f"The layer {layer.name!r} has no weights yet, although its model is built. Call the "
            "model on a batch first."
        )

    return build


@contextlib.contextmanager
def replaced(layer: keras.layers.Layer, name: str, function: Any) -> Iterator[None]:
    """Return a context in which an attribute of a layer is another one."""
    # Not by `__setattr__`, which tracks values and refuses them where a layer is locked.
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
