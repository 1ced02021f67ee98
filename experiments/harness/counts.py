"""Honest counts of a model: what is trained, what must be stored, what a forward pass costs."""

import math

import keras

from harness.errors import ExperimentError


def parameters(model: keras.Model) -> dict[str, int]:
    """Count the numbers in a model's weights.

    Args:
        model: A built model.

    Returns:
        `"trainable"`: numbers that the optimizer changes as the model is now; `"stored"`: all
        numbers in the model's file, frozen bases included.
    """
    return {
        "trainable": sum(math.prod(v.shape) for v in model.trainable_weights),
        "stored": sum(math.prod(v.shape) for v in model.weights),
    }


def macs(model: keras.Model) -> int:
    """Multiply-accumulate operations of the forward pass of one sample, as implemented.

    A dense kernel costs `in_dim units`; a kernel `B L` costs `in_dim rank + rank units`, the
    product with the frozen basis included, or `in_dim units` where that is less (the layer then
    forms the kernel, once a batch, which is not counted here). Additions of a bias, activations
    and reshapes are not counted.

    Args:
        model: A built model of dense layers, nested models included.

    Returns:
        Operations per sample.

    Raises:
        ExperimentError: A layer has weights and is of a kind that is not counted here.
    """
    return sum(_layer_macs(layer) for layer in model.layers)


def _layer_macs(layer) -> int:
    if isinstance(layer, keras.Model):
        return macs(layer)
    shapes = {v.name: tuple(v.shape) for v in layer.weights}
    if not shapes:
        return 0
    if {"basis", "learner"} <= shapes.keys() and len(shapes["basis"]) == 2:
        (in_dim, rank), units = shapes["basis"], shapes["learner"][-1]
        return min(rank * (in_dim + units), in_dim * units)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(shapes["kernel"])
    raise ExperimentError(
        f"layer {layer.name!r} is a {type(layer).__name__}: its operations are not counted here, "
        "expected Dense or SACDense layers."
    )
