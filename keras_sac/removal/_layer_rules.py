"""Which axes of a layer's weights belong to the channels of its inputs and of its outputs."""

import abc
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_sac._model import EinsumEquation

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Axis:
    """What the entries of an axis of a weight belong to.

    Attributes:
        of: `"outputs"`, the number of an input, or a name for units inside the layer.
        place: which of the axes that the rule names for that tensor.
        tiles: the weight has all units this many times, one after the other, such as gates.
        repeats: the weight has each unit this many times.
        groups: the weight has only the first of this many groups of the units.
        made: whether the weight makes these units. If not, it reads them, or scales them.
    """

    of: str | int
    place: int = 0
    tiles: int = 1
    repeats: int = 1
    groups: int = 1
    made: bool = False

    def entries(self, units: np.ndarray) -> np.ndarray:
        """Return the unit of each entry of the axis."""
        units = units[: len(units) // self.groups]
        return np.tile(np.repeat(units, self.repeats), self.tiles)


_IN, _OUT = Axis(0), Axis("outputs", made=True)
# A weight, and what its axes belong to; those that belong to no units are left out.
Weight = tuple[keras.Variable, dict[int, Axis]]


class LayerRule(abc.ABC):
    """How the units of a class of layers are removed.

    Attributes:
        makes_units: whether the outputs are units of the layer itself. If not, each channel of the
            outputs belongs to one of the inputs.
    """

    makes_units = True

    @abc.abstractmethod
    def weights(self, layer: Any) -> Iterator[Weight]:
        """Return the weights and their axes."""

    def input_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        """Return the axes of an input of some rank that weights belong to."""
        return (rank - 1,)

    def output_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        """Return the axes of outputs of some rank that number the units."""
        return (rank - 1,)

    def groups(self, layer: Any) -> int:
        """Return the number of groups of channels, which have to stay equally large."""
        return 1

    def repeats(self, layer: Any) -> int:
        """Return how many channels of the outputs each of the inputs has, without `makes_units`."""
        return 1

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        """Return what changes in the configuration.

        Args:
            layer: the original.
            shapes: the new shape of each weight, by the `id` of the old one.
        """
        return {}

    def inner_units(self, layer: Any) -> dict[str, int]:
        """Return the number of units inside the layer, by the names that `Axis` has."""
        return {}


class _Dense(LayerRule):
    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.kernel, {0: _IN, 1: _OUT}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"units": shapes[id(layer.kernel)][1]}


class _Images(LayerRule):
    """Layers with `data_format`."""

    def input_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        return (rank - 1 if layer.data_format == "channels_last" else 1,)

    output_axes = input_axes


class _Convolution(_Images):
    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.kernel, {layer.rank: Axis(0, groups=layer.groups), layer.rank + 1: _OUT}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def groups(self, layer: Any) -> int:
        return layer.groups

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"filters": shapes[id(layer.kernel)][-1]}


class _Transposed(_Images):
    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.kernel, {layer.rank: _OUT, layer.rank + 1: _IN}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"filters": shapes[id(layer.kernel)][layer.rank]}


class _Depthwise(_Images):
    makes_units = False

    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.kernel, {layer.rank: _IN}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def repeats(self, layer: Any) -> int:
        return layer.depth_multiplier


class _GroupOfOne(_Images):
    """A convolution with a group for each channel, which is a depthwise one."""

    makes_units = False

    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.kernel, {layer.rank + 1: _OUT}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def repeats(self, layer: Any) -> int:
        return layer.filters // layer.groups

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        filters = shapes[id(layer.kernel)][-1]
        return {"filters": filters, "groups": filters // self.repeats(layer)}


class _Separable(_Images):
    def weights(self, layer: Any) -> Iterator[Weight]:
        rank = layer.rank
        yield layer.depthwise_kernel, {rank: _IN}
        received = Axis(0, repeats=layer.depth_multiplier)
        yield layer.pointwise_kernel, {rank: received, rank + 1: _OUT}
        if layer.bias is not None:
            yield layer.bias, {0: _OUT}

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"filters": shapes[id(layer.pointwise_kernel)][-1]}


class _Embedding(LayerRule):
    def weights(self, layer: Any) -> Iterator[Weight]:
        yield layer.embeddings, {1: _OUT}

    def input_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        return ()

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"output_dim": shapes[id(layer.embeddings)][1]}


class _Recurrent(LayerRule):
    """The units are states as well, and each has a column in every gate."""

    def weights(self, layer: Any) -> Iterator[Weight]:
        cell = layer.cell
        columns = Axis("outputs", tiles=cell.kernel.shape[1] // layer.units, made=True)
        yield cell.kernel, {0: _IN, 1: columns}
        yield cell.recurrent_kernel, {0: Axis("outputs"), 1: columns}
        if cell.bias is not None:
            # A gated unit with `reset_after` has a bias for each of the two products.
            yield cell.bias, {len(cell.bias.shape) - 1: columns}

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"units": shapes[id(layer.cell.recurrent_kernel)][0]}


class _Einsum(LayerRule):
    def input_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        equation = EinsumEquation.read(layer.equation)
        start = rank - len(equation.inputs) if equation.ellipsis == "left" else 0
        return tuple(start + equation.inputs.index(each) for each in equation.contracted)

    def output_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        equation = EinsumEquation.read(layer.equation)
        start = rank - len(equation.outputs) if equation.ellipsis == "left" else 0
        return tuple(start + equation.outputs.index(each) for each in equation.made)

    def weights(self, layer: Any) -> Iterator[Weight]:
        equation = EinsumEquation.read(layer.equation)
        places = {label: Axis(0, place) for place, label in enumerate(equation.contracted)}
        made = {
            label: Axis("outputs", place, made=True) for place, label in enumerate(equation.made)
        }
        places |= made
        yield layer.kernel, {axis: places[c] for axis, c in enumerate(equation.kernel)}
        if layer.bias is not None:
            # Its shape is that of the outputs from the first of `bias_axes` on, with 1 elsewhere.
            first = min(equation.outputs.index(each) for each in layer.bias_axes)
            after = enumerate(equation.outputs[first:])
            of = {axis: made[c] for axis, c in after if c in layer.bias_axes and c in made}
            yield layer.bias, of

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        equation = EinsumEquation.read(layer.equation)
        shape = shapes[id(layer.kernel)]
        # The configuration has the shape of the outputs without the batch.
        config = list(layer.get_config()["output_shape"])
        for label in equation.made:
            place = equation.outputs.index(label)
            place = place - len(equation.outputs) if equation.ellipsis == "left" else place - 1
            config[place] = shape[equation.kernel.index(label)]
        return {"output_shape": tuple(config)}


class _Attention(LayerRule):
    """Heads are units inside the layer.

    The widths of heads stay: on JAX, Keras computes with heads of equal widths only (keras 3.15),
    and fewer columns of queries and keys are other scores, which nothing adjusts to.
    """

    def weights(self, layer: Any) -> Iterator[Weight]:
        heads = Axis("heads", made=True)
        for part, index in ((layer.query_dense, 0), (layer.key_dense, 2), (layer.value_dense, 1)):
            yield part.kernel, {0: Axis(index), 1: heads}
            if part.bias is not None:
                yield part.bias, {0: heads}
        yield layer.output_dense.kernel, {0: Axis("heads"), 2: _OUT}
        if layer.output_dense.bias is not None:
            yield layer.output_dense.bias, {0: _OUT}

    def inner_units(self, layer: Any) -> dict[str, int]:
        return {"heads": layer.num_heads}

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        heads, _, units = shapes[id(layer.output_dense.kernel)]
        # Without it, the outputs would be as wide as the queries.
        return {"num_heads": heads, "output_shape": (units,)}


class _Normalization(LayerRule):
    makes_units = False

    def input_axes(self, layer: Any, rank: int) -> tuple[int, ...]:
        axes = layer.axis if isinstance(layer.axis, list | tuple) else (layer.axis,)
        return tuple(axis % rank for axis in axes)

    output_axes = input_axes

    def weights(self, layer: Any) -> Iterator[Weight]:
        for weight in layer.weights:
            yield weight, {place: Axis(0, place) for place in range(len(weight.shape))}

    def groups(self, layer: Any) -> int:
        return 1 if self._one_each(layer) else getattr(layer, "groups", 1)

    def _one_each(self, layer: Any) -> bool:
        """Return whether each channel is a group of its own."""
        sizes = [weight.shape[0] for weight in layer.weights]
        return getattr(layer, "groups", 1) in (-1, *sizes)

    def config(self, layer: Any, shapes: dict[int, Shape]) -> dict[str, Any]:
        return {"groups": -1} if hasattr(layer, "groups") and self._one_each(layer) else {}


class _Slopes(LayerRule):
    """`PReLU`, which has a slope for each position, or for all along the shared axes."""

    makes_units = False

    def weights(self, layer: Any) -> Iterator[Weight]:
        last = len(layer.alpha.shape) - 1
        yield layer.alpha, {last: _IN} if layer.alpha.shape[last] > 1 else {}


_RULES: dict[type, LayerRule] = {
    layers.Dense: _Dense(),
    layers.EinsumDense: _Einsum(),
    layers.Embedding: _Embedding(),
    layers.MultiHeadAttention: _Attention(),
    layers.PReLU: _Slopes(),
    **dict.fromkeys((layers.Conv1D, layers.Conv2D, layers.Conv3D), _Convolution()),
    **dict.fromkeys(
        (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), _Transposed()
    ),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _Depthwise()),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _Separable()),
    **dict.fromkeys((layers.SimpleRNN, layers.LSTM, layers.GRU), _Recurrent()),
    **dict.fromkeys(
        (
            layers.BatchNormalization,
            layers.LayerNormalization,
            layers.GroupNormalization,
            layers.RMSNormalization,
        ),
        _Normalization(),
    ),
}


# Arguments that a configuration describes, and that a layer has as objects.
_OBJECTS = ("activation", "initializer", "regularizer", "constraint")


def configuration(layer: Any) -> dict[str, Any]:
    """Return the arguments of a layer, with objects in the place of their descriptions.

    Functions and classes of the user's own need not be registered then.
    """
    with warnings.catch_warnings():
        # Keras warns of Python functions that it describes.
        warnings.simplefilter("ignore")
        config = dict(layer.get_config())
    named = [name for name in config if name.endswith(_OBJECTS)]
    return config | {name: getattr(layer, name, config[name]) for name in named}


def rule_of(layer: Any) -> LayerRule | str:
    """Return the rule of a layer, or why there is none. A subclass may do more than its class."""
    rule = _RULES.get(type(layer))
    if isinstance(rule, _Convolution) and layer.groups > 1 == layer.kernel.shape[layer.rank]:
        rule = _GroupOfOne()
    if rule is None:
        return f"the class {type(layer).__name__} is not known"
    if layer.quantization_mode is not None:
        return "it is quantized"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA adapters"
    try:
        configuration(layer)
    except (NotImplementedError, OSError, TypeError, ValueError) as error:
        return f"it cannot be built with other sizes, having no configuration ({error})"
    if isinstance(layer, layers.RNN) and (layer.return_state or layer.stateful):
        return "its states leave the layer"
    if isinstance(layer, layers.EinsumDense) and EinsumEquation.read(layer.equation).shared:
        return "its kernel is another one at each place of an axis"
    if isinstance(layer, layers.MultiHeadAttention) and len(layer.output_dense.kernel.shape) != 3:
        return "its outputs have several axes"
    return rule
