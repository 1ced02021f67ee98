"""Watch the products of layers: what goes in, and what comes out before the activation."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import Call, replaced, watched_calls

_LARGEST = 1e18


@dataclasses.dataclass(frozen=True)
class Product:
    """One call of a layer that multiplies its inputs by a kernel.

    Attributes:
        layer: the layer.
        inputs: the tensor that it received.
        outputs: the tensor that it made, before its activation; `None` if it returned several.
        mask: of the inputs; `None` without one.
        made: the tensor that it returned, after its activation; the first of several.
        further: whether it received other tensors, too, such as initial states.
    """

    layer: keras.layers.Layer
    inputs: Any
    outputs: Any
    mask: Any
    made: Any
    further: bool


class _Stopped(BaseException):
    """Ends a forward pass. No `Exception`, so that Keras adds nothing to it."""

    def __init__(self, error: Exception | None = None):
        super().__init__()
        self.error = error


class _MaskReader(keras.layers.Layer):
    """Read the mask that a tensor carries, which Keras passes to a layer."""

    def __init__(self):
        super().__init__(name="mask_reader")
        self.supports_masking = True
        self.built = True
        self.mask: Any = None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Keep the mask."""
        self.mask = mask
        return inputs


@contextlib.contextmanager
def watched_products(
    model: keras.Model,
    layers: Sequence[keras.layers.Layer],
    see: Callable[[Product], None],
    *,
    shift: Callable[[keras.layers.Layer, Any], Any] | None = None,
    see_call: Callable[[Call], None] | None = None,
) -> Iterator[None]:
    """Return a context in which `see` receives each product of some layers.

    Args:
        model: built; not changed.
        layers: layers of the model.
        see: called after each of their calls. Its errors come through as they are.
        shift: from a layer and the outputs of its product, before the activation, to those that
            take their place. Gradients are recorded then.
        see_call: called after each call of any layer.
    """
    watched = {id(layer) for layer in layers}
    # Outputs of the calls in progress, before their activations.
    linear: dict[int, Any] = {}
    reader = _MaskReader()

    def before(layer: Any, activation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            shifted = outputs if shift is None else shift(layer, outputs)
            linear[id(layer)] = shifted
            return activation(shifted, *args, **kwargs)

        return wrapped

    def received(call: Call) -> Any:
        if see_call is not None:
            see_call(call)
        layer = call.layer
        if id(layer) not in watched:
            return None
        args, named = call.arguments
        # Flattening a dict would sort it.
        tensors = [x for x in keras.tree.flatten([*args, *named.values()]) if ops.is_tensor(x)]
        instead, outputs = None, linear.pop(id(layer), None)
        if outputs is None and len(call.outputs) == 1:
            outputs = call.outputs[0]
            if shift is not None:
                outputs = instead = shift(layer, outputs)
        reader(tensors[0])
        further = len(tensors) > 1 + (named.get("mask") is not None)
        try:
            see(Product(layer, tensors[0], outputs, reader.mask, call.outputs[0], further))
        except Exception as error:
            # Keras would say that the layer has failed.
            raise _Stopped(error) from error
        return instead

    with contextlib.ExitStack() as stack:
        for layer in layers:
            activation = getattr(layer, "activation", None)
            if callable(activation):
                stack.enter_context(replaced(layer, "activation", before(layer, activation)))
        stack.enter_context(watched_calls(model, received, gradients=shift is not None))
        try:
            yield
        except _Stopped as stopped:
            if stopped.error is not None:
                raise stopped.error from None


def see_products(
    model: keras.Model,
    inputs: Any,
    layers: Sequence[keras.layers.Layer],
    see: Callable[[Product], None],
    *,
    calls: int | None = None,
    see_call: Callable[[Call], None] | None = None,
) -> None:
    """Call a model on a batch, and let `see` receive each product of some layers.

    Args:
        model: built; not changed.
        inputs: a batch, as `predict` takes it.
        layers: layers of the model.
        see: called after each of their calls.
        calls: number of products after which the pass ends; `None` for the whole model.
        see_call: called after each call of any layer.
    """
    seen = 0

    def counted(product: Product) -> None:
        nonlocal seen
        see(product)
        seen += 1
        if seen == calls:
            raise _Stopped

    # The context suppresses the end of the pass.
    with watched_products(model, layers, counted, see_call=see_call):
        model(inputs, training=False)


def check_finite(rows: np.ndarray, what: str) -> None:
    """Raise `ValueError` unless all values are finite, and their squares in single precision."""
    # Without `abs`, which would be a copy of all patches.
    largest = max(rows.max(initial=0.0), -rows.min(initial=0.0))
    if not largest < _LARGEST:  # NaN compares false
        found = f"{largest:.3g}" if np.isfinite(largest) else "NaN or infinite values"
        raise ValueError(
            f"A calibration needs finite values below {_LARGEST:.0e}. Received: {found} in {what}. "
            "Check the data, and the weights of the layers before it."
        )
