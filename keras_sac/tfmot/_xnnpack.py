"""`PruneForLatencyOnXNNPack`: prune only layers that XNNPACK can run sparse."""

from typing import Any

import keras
from keras import layers

from keras_sac.tfmot._interfaces import PruningPolicy
from keras_sac.tfmot._operation_graph import Graph, first_on_each_path

_ALWAYS = (
    layers.InputLayer,
    layers.Add,
    layers.Multiply,
    layers.ZeroPadding2D,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
)
_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid")
# Keras has no public names for the classes of `keras.ops` in a graph.
_OPERATIONS = ("Add", "Subtract", "Multiply", "Identity")


class PruneForLatencyOnXNNPack(PruningPolicy):
    """Policy that prunes only the 1x1 convolutions of models that XNNPACK can run sparse.

    Such a model begins with a zero padding of 1 and a 3x3 convolution with stride 2 on 3 channels,
    ends with a global average pooling, and has only layers in between that XNNPACK supports in its
    sparse mode. Models nested in between are checked inside. Channels are last.

    Examples:
        >>> policy = PruneForLatencyOnXNNPack()
        >>> policy.allow_pruning(layers.Conv2D(8, 1)), policy.allow_pruning(layers.Conv2D(8, 3))
        (True, False)

    Reference:
        Elsen et al., "Fast sparse ConvNets", 2020, https://arxiv.org/abs/1911.09723
    """

    def allow_pruning(self, layer: keras.layers.Layer) -> bool:
        """Return whether a layer is a 1x1 `Conv2D`."""
        return isinstance(layer, layers.Conv2D) and tuple(layer.kernel_size) == (1, 1)

    def ensure_model_supports_pruning(self, model: keras.Model) -> None:
        """Raise `ValueError` if XNNPACK cannot run the model sparse.

        Args:
            model: built Sequential or Functional model.

        Raises:
            ValueError: if `model` is not such a model, or if one of its layers does not fit.
        """
        if not isinstance(model, keras.Sequential | keras.Function) or not model.built:
            raise ValueError(
                "`model` must be a built Sequential or Functional model. Received: "
                f"{model.name!r} of type {type(model).__name__}"
                + ("." if model.built else ", which is not built. Call it on a batch first.")
            )
        graph = Graph(model)
        starts = first_on_each_path(
            graph.inputs, lambda each: _is_start(each, graph), graph.consumers
        )
        if not starts:
            raise ValueError(
                "Each input must lead to a `ZeroPadding2D` of 1 and a `Conv2D` with kernel 3x3, "
                "strides 2, padding 'valid' and 3 input channels. Received: the model "
                f"{model.name!r}, whose first operations are "
                f"{_names(graph, graph.inputs, graph.consumers)}"
            )
        ends = first_on_each_path(graph.outputs, _is_end, graph.producers)
        if not ends:
            raise ValueError(
                "Each output must come from a `GlobalAveragePooling2D`. Received: the model "
                f"{model.name!r}, whose last operations are "
                f"{_names(graph, graph.outputs, graph.producers)}"
            )
        first_on_each_path(
            [each for start in starts for each in graph.consumers(start)],
            lambda each: any(each is end for end in ends) or _refuse_unless_known(each, graph),
            graph.consumers,
        )


def _is_start(operation: Any, graph: Graph) -> bool:
    if not isinstance(operation, layers.Conv2D):
        return False
    producers = graph.producers(operation)
    return (
        tuple(operation.kernel.shape)[:3] == (3, 3, 3)
        and tuple(operation.strides) == (2, 2)
        and operation.padding == "valid"
        and _is_padded(producers, 1)
    )


def _is_end(operation: Any) -> bool:
    return isinstance(operation, layers.GlobalAveragePooling2D)


def _is_padded(producers: list[Any], width: int) -> bool:
    return (
        len(producers) == 1
        and isinstance(producers[0], layers.ZeroPadding2D)
        and _pairs(producers[0].padding) == ((width, width), (width, width))
    )


def _refuse_unless_known(operation: Any, graph: Graph) -> bool:
    if isinstance(operation, keras.Sequential | keras.Function) and operation.built:
        inside = Graph(operation)
        for each in inside.operations:
            _refuse_unless_known(each, inside)
        return False
    if _is_known(operation, graph):
        return False
    raise ValueError(
        "All layers between the first convolution and the global average pooling must be supported "
        f"by the sparse mode of XNNPACK. Received: {operation.name!r} "
        f"({type(operation).__name__}). To prune the model anyway, use another policy or none."
    )


def _is_known(operation: Any, graph: Graph) -> bool:
    if not isinstance(operation, layers.Layer):
        return type(operation).__name__ in _OPERATIONS
    if isinstance(operation, layers.DepthwiseConv2D):
        return _is_known_depthwise(operation, graph)
    if isinstance(operation, layers.Conv2D):
        extents = (operation.kernel_size, operation.strides, operation.dilation_rate)
        return operation.groups == 1 and all(tuple(each) == (1, 1) for each in extents)
    if isinstance(operation, layers.GlobalAveragePooling2D):
        return operation.keepdims
    if isinstance(operation, layers.BatchNormalization):
        return operation.axis in (-1, 3)
    if isinstance(operation, layers.UpSampling2D):
        return operation.interpolation == "bilinear"
    if isinstance(operation, layers.Activation):
        return keras.activations.serialize(operation.activation) in _ACTIVATIONS
    return isinstance(operation, _ALWAYS)


def _is_known_depthwise(layer: Any, graph: Graph) -> bool:
    kernel, strides = tuple(layer.kernel_size), tuple(layer.strides)
    if layer.depth_multiplier != 1 or tuple(layer.dilation_rate) != (1, 1):
        return False
    if kernel not in ((3, 3), (5, 5)):
        return False
    if layer.padding == "same":
        return strides == (1, 1)
    return strides in ((1, 1), (2, 2)) and _is_padded(graph.producers(layer), kernel[0] // 2)


def _pairs(padding: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each) for each in padding)


def _names(graph: Graph, start: list[Any], step: Any) -> str:
    seen: list[str] = []
    first_on_each_path(start, lambda each: seen.append(each.name) or len(seen) == 4, step)
    return ", ".join(seen)
