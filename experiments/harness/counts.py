"""Honest counts of a model: what is trained, what must be stored, what a forward pass costs."""

import math

import keras

from harness.errors import ExperimentError

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


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
    forms the kernel, once a batch, which is not counted here). The kernel of a convolution costs
    its size at each position of the output. Zeros are counted as any other number: a dense product
    is no faster for them. Additions of a bias, activations, pooling and reshapes are not counted.

    Args:
        model: A built model of dense layers and convolutions, nested models included.

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
    if isinstance(layer, _CONVOLUTIONS):
        channels_last = layer.data_format == "channels_last"
        extents = layer.output.shape[1:-1] if channels_last else layer.output.shape[2:]
        return math.prod(shapes["kernel"]) * math.prod(extents)
    raise ExperimentError(
        f"layer {layer.name!r} is a {type(layer).__name__}: its operations are not counted here, "
        "expected Dense, SACDense, Conv1D, Conv2D or Conv3D layers."
    )
