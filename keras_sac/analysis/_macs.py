"""Multiply-accumulate operations of a forward pass, all of them and those that are not by zero."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac.analysis._calls import STEPWISE, Call, watched_calls
from keras_sac.analysis._samples import batch_of, noise
from keras_sac.analysis._uses import Uses, products_without_kernel, subspace_factors, uses_of


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
    inputs = noise(model, 1) if sample is None else batch_of(sample, 1)
    size = keras.tree.flatten(inputs)[0].shape[0]
    found: dict[int, Macs] = {}

    def see(call: Call) -> None:
        counted = _of_call(call, more or {})
        found.setdefault(id(call.layer), Macs()).add(counted)

    with watched_calls(model, see):
        model(inputs, training=False)
    for each in found.values():
        if each.dense is not None and each.effective is not None:
            each.dense, each.effective = each.dense / size, each.effective / size
    return found


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the weights of a layer but for those of the layers inside it that have rows too."""
    if isinstance(layer, STEPWISE):
        return list(layer.weights)
    # Keras has no public way to see the layers inside a composite layer.
    inner = layer._flatten_layers(include_self=False, recursive=False)
    inside = {id(weight) for each in inner for weight in each.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def _of_call(call: Call, more: Mapping[type, Uses]) -> Macs:
    layer = call.layer
    args, kwargs = call.arguments
    tensors = [each for each in keras.tree.flatten((args, kwargs)) if hasattr(each, "shape")]
    given = tuple(tensors[0].shape) if tensors else ()
    made = tuple(call.outputs[0].shape)
    products = products_without_kernel(layer, call.arguments)
    counted = Macs(products, products)
    counted.add(_of_kernels(layer, given, made, more))
    return counted


def _of_kernels(
    layer: keras.layers.Layer,
    given: Sequence[int],
    made: Sequence[int],
    more: Mapping[type, Uses],
) -> Macs:
    if isinstance(layer, keras.layers.TimeDistributed):
        inner = layer.layer
        if any(inner._flatten_layers(include_self=False)):
            return Macs(None, None)
        steps = given[1]
        one = _of_kernels(inner, (given[0], *given[2:]), (made[0], *made[2:]), more)
        if one.dense is None or one.effective is None:
            return one
        return Macs(steps * one.dense, steps * one.effective)
    kernels = [each for each in own_weights(layer) if _may_be_kernel(each)]
    if not kernels:
        return Macs()
    uses = uses_of(layer, tuple(given), tuple(made), more)
    if uses is None:
        return Macs(None, None)
    factors = subspace_factors(layer)
    if factors is not None:
        return _of_subspace(*factors, uses)
    return Macs(
        uses * sum(math.prod(each.shape) for each in kernels),
        uses * sum(_nonzeros(each) for each in kernels) if uses else 0,
    )


def _of_subspace(basis: keras.Variable, learner: keras.Variable, uses: float) -> Macs:
    (in_dim, rank), units = basis.shape, learner.shape[-1]
    if rank * (in_dim + units) <= in_dim * units:
        return Macs(uses * rank * (in_dim + units), uses * (_nonzeros(basis) + _nonzeros(learner)))
    # The layer forms the kernel then, once a batch, which is not counted.
    kernel = keras.ops.convert_to_numpy(basis) @ keras.ops.convert_to_numpy(learner)
    return Macs(uses * in_dim * units, uses * int(np.count_nonzero(kernel)))


def _may_be_kernel(weight: keras.Variable) -> bool:
    # Biases of recurrent layers and of attention have two axes as well.
    return len(weight.shape) > 1 and "bias" not in weight.name


def _nonzeros(weight: keras.Variable) -> int:
    return int(np.count_nonzero(keras.ops.convert_to_numpy(weight)))
