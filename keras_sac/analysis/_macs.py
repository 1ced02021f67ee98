"""Count the multiply-accumulate operations of a forward pass, dense or without zero weights."""

import dataclasses
import math
import re
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

# Names of variables that are added to something or looked up, in layers that are not known. Biases
# of recurrent and attention layers have two axes.
_ADDED = re.compile(r"bias|embed|position|token")


@dataclasses.dataclass
class Macs:
    """Operations of a layer for one sample; `None` if its class is not known."""

    dense: float | None = 0
    effective: float | None = 0

    def add(self, other: "Macs") -> None:
        """Add the operations of another call."""
        for name in ("dense", "effective"):
            a, b = getattr(self, name), getattr(other, name)
            setattr(self, name, None if a is None or b is None else a + b)

    def scale(self, factor: float) -> None:
        """Multiply both counts."""
        if self.dense is not None and self.effective is not None:
            self.dense, self.effective = self.dense * factor, self.effective * factor


def macs_of(model: keras.Model, sample: Any = None) -> dict[int, Macs]:
    """Count the operations of a forward pass of one sample.

    Args:
        model: a built model; not changed.
        sample: inputs, of which the first sample is used. Defaults to random numbers.

    Returns:
        A dict from the `id` of each layer that was called to its operations.

    Raises:
        ValueError: if `sample` is not given and the shape of the inputs is not known.
    """
    inputs = noise(model, 1) if sample is None else batch_of(sample, _smallest_batch(model))
    size = keras.tree.flatten(inputs)[0].shape[0]
    macs = _count_pass(model, [inputs])
    for each in macs.values():
        each.scale(1 / size)
    return macs


def _smallest_batch(model: keras.Model) -> int:
    # Stateful models only accept batches of one size.
    shapes = [each.shape for each in getattr(model, "inputs", None) or []]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), 1)


def _count_pass(layer: keras.layers.Layer, inputs: Sequence[Any]) -> dict[int, Macs]:
    """Count the operations of a forward pass, separately for each inner layer."""
    macs: dict[int, Macs] = {}
    stepwise: list[tuple[Any, Any]] = []

    def count(call: Call) -> None:
        if isinstance(call.layer, STEPWISE) and kind_of(call.layer) is None:
            # Counted afterwards, because the model may also call the inner layer directly.
            stepwise.append((call.layer, keras.tree.flatten(call.arguments)[0]))
            return
        macs.setdefault(id(call.layer), Macs()).add(_count_call(call))

    with watched_calls(layer, count):
        layer(*inputs, training=False)
    for each, sequence in stepwise:
        macs.setdefault(id(each), Macs()).add(_count_steps(each, sequence))
    return macs


def _count_steps(layer: Any, sequence: Any) -> Macs:
    """Count the steps of a layer that calls its inner layer step by step."""
    batch, steps, *rest = sequence.shape
    step = keras.ops.zeros((batch, *rest), keras.backend.standardize_dtype(sequence.dtype))
    if isinstance(layer, keras.layers.TimeDistributed):
        inner, inputs = layer.layer, [step]
    else:
        inner, inputs = layer.cell, [step, layer.get_initial_state(batch_size=batch)]
    if not isinstance(inner, keras.layers.Layer):
        return Macs(None, None)
    macs = Macs()
    for each in _count_pass(inner, inputs).values():
        macs.add(each)
    macs.scale(steps)
    return macs


def _count_call(call: Call) -> Macs:
    layer, kind = call.layer, kind_of(call.layer)
    if kind is None:
        known = [len(v.shape) < 2 or _ADDED.search(v.name) for v in own_weights(layer)]
        return Macs() if all(known) else Macs(None, None)
    tensors = [each for each in keras.tree.flatten(call.arguments) if hasattr(each, "shape")]
    inputs, outputs = tuple(tensors[0].shape) if tensors else (), tuple(call.outputs[0].shape)
    uses = kind.uses(layer, inputs, outputs)
    products = kind.products_of_inputs(layer, call.arguments)
    macs = Macs(products, products)
    for name, kernel in kind.multiplied(layer).items():
        times = uses.get(name, 0) if isinstance(uses, Mapping) else uses
        if times:
            nonzeros = int(np.count_nonzero(keras.ops.convert_to_numpy(kernel)))
            macs.add(Macs(times * math.prod(kernel.shape), times * nonzeros))
    return macs
