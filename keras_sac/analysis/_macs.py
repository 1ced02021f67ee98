"""Count the multiply-accumulate operations of a forward pass, in all and with nonzero weights."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model import (
    STEPWISE,
    Call,
    batch_of,
    kind_of,
    noise,
    own_weights,
    watched_calls,
)


@dataclasses.dataclass
class Macs:
    """Operations of a layer for one sample; `None` where its class is not known."""

    dense: float | None = 0
    effective: float | None = 0

    def add(self, other: "Macs") -> None:
        """Add the operations of another call."""
        for name in ("dense", "effective"):
            mine, more = getattr(self, name), getattr(other, name)
            setattr(self, name, None if mine is None or more is None else mine + more)

    def scale(self, factor: float) -> None:
        """Multiply both counts."""
        if self.dense is not None and self.effective is not None:
            self.dense, self.effective = self.dense * factor, self.effective * factor


def macs_of(model: keras.Model, sample: Any = None) -> dict[int, Macs]:
    """Count the operations of a forward pass of one sample.

    Args:
        model: built. It is not changed.
        sample: inputs, of which the first is used; random ones by default.

    Returns:
        The operations of each layer that was called, by its `id`.

    Raises:
        ValueError: if the shape of the inputs is not known, and there is no sample.
    """
    inputs = noise(model, 1) if sample is None else batch_of(sample, _smallest_batch(model))
    size = keras.tree.flatten(inputs)[0].shape[0]
    found = _of_pass(model, [inputs])
    for each in found.values():
        each.scale(1 / size)
    return found


def _smallest_batch(model: keras.Model) -> int:
    # Stateful models are made for batches of one size.
    shapes = [each.shape for each in getattr(model, "inputs", None) or []]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), 1)


def _of_pass(layer: keras.layers.Layer, inputs: Sequence[Any]) -> dict[int, Macs]:
    """Count the operations of a call, separately for each inner layer."""
    found: dict[int, Macs] = {}
    stepwise: list[tuple[Any, Any]] = []

    def see(call: Call) -> None:
        if isinstance(call.layer, STEPWISE) and kind_of(call.layer) is None:
            # Counted afterwards: the inner layer may have a place of its own in the model.
            stepwise.append((call.layer, keras.tree.flatten(call.arguments)[0]))
            return
        found.setdefault(id(call.layer), Macs()).add(_of_call(call))

    with watched_calls(layer, see):
        layer(*inputs, training=False)
    for each, sequence in stepwise:
        found.setdefault(id(each), Macs()).add(_of_steps(each, sequence))
    return found


def _of_steps(layer: Any, sequence: Any) -> Macs:
    """Count one step of a layer that calls its inner layer step by step, times the steps."""
    batch, steps, *rest = sequence.shape
    step = keras.ops.zeros((batch, *rest), keras.backend.standardize_dtype(sequence.dtype))
    if isinstance(layer, keras.layers.TimeDistributed):
        inner, inputs = layer.layer, [step]
    else:
        inner, inputs = layer.cell, [step, layer.get_initial_state(batch_size=batch)]
    if not isinstance(inner, keras.layers.Layer):
        return Macs(None, None)
    counted = Macs()
    for each in _of_pass(inner, inputs).values():
        counted.add(each)
    counted.scale(steps)
    return counted


def _of_call(call: Call) -> Macs:
    layer, kind = call.layer, kind_of(call.layer)
    if kind is None:
        # Biases of recurrent layers and of attention have two axes as well.
        kernels = [v for v in own_weights(layer) if len(v.shape) > 1 and "bias" not in v.name]
        return Macs(None, None) if kernels else Macs()
    tensors = [each for each in keras.tree.flatten(call.arguments) if hasattr(each, "shape")]
    inputs, outputs = tuple(tensors[0].shape) if tensors else (), tuple(call.outputs[0].shape)
    uses = kind.uses(layer, inputs, outputs)
    products = kind.products_of_inputs(layer, call.arguments)
    counted = Macs(products, products)
    for name, kernel in kind.multiplied(layer).items():
        times = uses.get(name, 0) if isinstance(uses, Mapping) else uses
        if times:
            nonzeros = int(np.count_nonzero(keras.ops.convert_to_numpy(kernel)))
            counted.add(Macs(times * math.prod(kernel.shape), times * nonzeros))
    return counted
