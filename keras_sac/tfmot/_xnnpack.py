"""The policy for what XNNPACK can run sparse."""

from typing import Any

import keras
from keras import layers

from keras_sac.tfmot._operation_graph import Graph, first_on_each_path
from keras_sac.tfmot._policy import PruningPolicy

_ALWAYS = (
    layers.Add,
    layers.Multiply,
    layers.ZeroPadding2D,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
)
_ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid")
# Classes of `keras.ops` in a graph, which have no public names.
_OPERATIONS = ("Add", "Subtract", "Multiply", "Identity")


class PruneForLatencyOnXNNPack(PruningPolicy):
    """Prunes only the 1x1 convolutions of models that XNNPACK can run sparse.

    Such a model begins with a zero padding of 1 and a 3x3 convolution of stride 2 on 3 channels,
    ends with a global average pooling, and has in between only layers that XNNPACK knows in this
    mode. The images have their channels last.

    Examples:
        >>> policy = PruneForLatencyOnXNNPack()
        >>> policy.allow_pruning(layers.Conv2D(8, 1)), policy.allow_pruning(layers.Conv2D(8, 3))
        (True, False)

    Reference:
        Elsen et al., "Fast sparse ConvNets", 2020, https://arxiv.org/abs/1911.09723
    """

    def allow_pruning(self, layer: keras.layers.Layer) -> bool:
        """Return whether the layer is a 1x1 `Conv2D`."""
        return isinstance(layer, layers.Conv2D) and tuple(layer.kernel_size) == (1, 1)

    def ensure_model_supports_pruning(self, model: keras.Model) -> None:
        """Raise `ValueError` if XNNPACK cannot run the model sparse.

        Args:
            model: built Sequential or Functional model.

        Raises:
            ValueError: if it is not that, or begins, ends or goes on with other layers.
        """
        if not isinstance(model, keras.Sequential | keras.Function) or not model.built:
            raise ValueError(
                "`PruneForLatencyOnXNNPack` needs a built Sequential or Functional model, whose "
                f"graph is known. Received: {model.name!r} of type {type(model).__name__}"
                f"{'' if model.built else ', which is not built'}."
            )
        graph = Graph(model)
        starts = first_on_each_path(
            graph.inputs, lambda each: _is_start(each, graph), graph.consumers
        )
        if not starts:
            raise ValueError(
                "Each input has to lead to a `Conv2D` with kernel 3x3, strides 2, padding 'valid' "
                "and 3 input channels, after a `ZeroPadding2D` of 1. Not so in the model "
                f"{model.name!r}: {_names(graph, graph.inputs, graph.consumers)}"
            )
        ends = first_on_each_path(graph.outputs, _is_end, graph.producers)
        if not ends:
            raise ValueError(
                "Each output has to come from a `GlobalAveragePooling2D`. Not so in the model "
                f"{model.name!r}: {_names(graph, graph.outputs, graph.producers)}"
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
    if _is_known(operation, graph):
        return False
    raise ValueError(
        "XNNPACK cannot run a model sparse that has the layer "
        f"{operation.name!r} ({type(operation).__name__}) as it is between the first convolution "
        "and the global average pooling. Use another policy, or none, to prune it all the same."
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
