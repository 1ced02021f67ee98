"""Multiply-accumulate operations of a forward pass, all of them and those that are not by zero."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model import (
    STEPWISE,
    Call,
    Uses,
    batch_of,
    noise,
    products_without_kernel,
    subspace_factors,
    uses_of,
    watched_calls,
)


@dataclasses.dataclass
class Macs:
    """Operations of a layer, of one sample; `None` where its class is not known."""

    dense: float | None = 0
    effective: float | None = 0

    def add(self, other: "Macs") -> None:
        """Add those of another call."""
        for name in ("dense", "effective"):
            mine, more = getattr(self, name), getattr(other, name)
            setattr(self, name, None if mine is None or more is None else mine + more)

    def scale(self, times: int, samples: int = 1) -> None:
        """Take all of them so many times, shared among so many samples."""
        if self.dense is not None and self.effective is not None:
            self.dense = self.dense * times / samples
            self.effective = self.effective * times / samples


def macs_of(
    model: keras.Model, sample: Any = None, more: Mapping[type, Uses] | None = None
) -> dict[int, Macs]:
    """Count the operations of a forward pass of one sample.

    Args:
        model: built. It is left as it is.
        sample: inputs, of which the first is used; random ones by default.
        more: layer class -> function of a layer and the shapes of its first input and output, batch
            axis included, that returns how often each of its kernels is used.

    Returns:
        For each layer that was called, by its `id`.

    Raises:
        ValueError: if the model leaves open what it takes, and there is no sample.
    """
    inputs = noise(model, 1) if sample is None else batch_of(sample, _smallest_batch(model))
    size = keras.tree.flatten(inputs)[0].shape[0]
    found = _of_pass(model, [inputs], more or {})
    for each in found.values():
        each.scale(1, size)
    return found


def _smallest_batch(model: keras.Model) -> int:
    # A model may be made for batches of one size, as stateful ones are.
    shapes = [each.shape for each in getattr(model, "inputs", None) or []]
    return next((shape[0] for shape in shapes if shape and shape[0] is not None), 1)


def _of_pass(
    layer: keras.layers.Layer, inputs: Sequence[Any], more: Mapping[type, Uses]
) -> dict[int, Macs]:
    """Count the operations of a call, those of inner layers each by itself."""
    found: dict[int, Macs] = {}
    stepwise: list[tuple[Any, Any]] = []

    def see(call: Call) -> None:
        given, made = _ends(call)
        if isinstance(call.layer, STEPWISE) and uses_of(call.layer, given, made, more) is None:
            # Afterwards: what it holds may have a place of its own in the model, which is watched.
            stepwise.append((call.layer, keras.tree.flatten(call.arguments)[0]))
            return
        counted = found.setdefault(id(call.layer), Macs())
        products = products_without_kernel(call.layer, call.arguments)
        counted.add(Macs(products, products))
        counted.add(_of_kernels(call.layer, given, made, more))

    with watched_calls(layer, see):
        layer(*inputs, training=False)
    for each, sequence in stepwise:
        found.setdefault(id(each), Macs()).add(_of_steps(each, sequence, more))
    return found


def _of_steps(layer: Any, sequence: Any, more: Mapping[type, Uses]) -> Macs:
    """Count one step of what a layer calls step by step, times the steps."""
    batch, steps, *rest = sequence.shape
    step = keras.ops.zeros((batch, *rest), keras.backend.standardize_dtype(sequence.dtype))
    if isinstance(layer, keras.layers.TimeDistributed):
        inner, inputs = layer.layer, [step]
    else:
        inner, inputs = layer.cell, [step, layer.get_initial_state(batch_size=batch)]
    if not isinstance(inner, keras.layers.Layer):
        return Macs(None, None)
    counted = Macs()
    for each in _of_pass(inner, inputs, more).values():
        counted.add(each)
    counted.scale(steps)
    return counted


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the weights of a layer but for those of the layers inside it that have rows too."""
    if isinstance(layer, STEPWISE):
        return list(layer.weights)
    # Keras has no public way to see the layers inside a composite layer.
    inner = layer._flatten_layers(include_self=False, recursive=False)
    inside = {id(weight) for each in inner for weight in each.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def _ends(call: Call) -> tuple[tuple[int, ...], tuple[int, ...]]:
    tensors = [each for each in keras.tree.flatten(call.arguments) if hasattr(each, "shape")]
    return tuple(tensors[0].shape) if tensors else (), tuple(call.outputs[0].shape)


def _of_kernels(
    layer: keras.layers.Layer,
    given: tuple[int, ...],
    made: tuple[int, ...],
    more: Mapping[type, Uses],
) -> Macs:
    kernels = _kernels(layer)
    if not kernels:
        return Macs()
    uses = uses_of(layer, given, made, more)
    if uses is None:
        return Macs(None, None)
    factors = subspace_factors(layer)
    if factors is not None and not isinstance(uses, Mapping):
        return _of_subspace(*factors, uses)
    counted = Macs()
    for name, kernel in kernels:
        times = uses.get(name, 0) if isinstance(uses, Mapping) else uses
        if times:
            counted.add(Macs(times * math.prod(kernel.shape), times * _nonzeros(kernel)))
    return counted


def _kernels(layer: Any) -> list[tuple[str, Any]]:
    # Biases of recurrent layers and of attention have two axes as well.
    found = [
        (each.name, each)
        for each in own_weights(layer)
        if len(each.shape) > 1 and "bias" not in each.name
    ]
    if found and (layer.quantization_mode or getattr(layer, "lora_enabled", False)):
        # Packed, with scales, or with adapters besides; this is what is multiplied.
        kernel = getattr(layer, "kernel", None)
        return found if kernel is None else [("kernel", kernel)]
    return found


def _of_subspace(basis: keras.Variable, learner: keras.Variable, uses: float) -> Macs:
    (in_dim, rank), units = basis.shape, learner.shape[-1]
    if rank * (in_dim + units) <= in_dim * units:
        return Macs(uses * rank * (in_dim + units), uses * (_nonzeros(basis) + _nonzeros(learner)))
    # The layer forms the kernel then, once a batch, which is not counted.
    kernel = keras.ops.convert_to_numpy(basis) @ keras.ops.convert_to_numpy(learner)
    return Macs(uses * in_dim * units, uses * int(np.count_nonzero(kernel)))


def _nonzeros(weight: Any) -> int:
    return int(np.count_nonzero(keras.ops.convert_to_numpy(weight)))
