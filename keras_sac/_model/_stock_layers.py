"""The entries of the table of layer classes for Keras' own layers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import layers, ops

from keras_sac._model._einsum_equation import EinsumEquation
from keras_sac._model._layer_table import Choose, KernelAxes, LayerKind, Shape, register_layer
from keras_sac._model._patches import extract_patches

_MATRIX = KernelAxes((0,), (1,))


class ElementwiseKind(LayerKind):
    """Its weights are added to its inputs, or multiplied with them one by one."""


class DenseKind(LayerKind):
    """`y = x W` at each position."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the kernel, `(in_dim, units)`."""
        return {"kernel": _MATRIX}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return the number of positions."""
        return math.prod(input_shape[:-1])

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs at all positions."""
        return inputs.reshape(-1, inputs.shape[-1])

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return `None`."""
        return None


class EinsumDenseKind(LayerKind):
    """`y = einsum(equation, x, W)`."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the kernel as the equation has them."""
        equation = EinsumEquation.read(layer.equation)
        position = equation.kernel.index
        contracted, made = equation.contracted, equation.made
        if not contracted or not made:
            rank = len(equation.kernel)
            return {"kernel": KernelAxes((max(rank - 2, 0),), (rank - 1,))}
        return {"kernel": KernelAxes(tuple(map(position, contracted)), tuple(map(position, made)))}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return the product of the axes of the input that the kernel does not have."""
        equation = EinsumEquation.read(layer.equation)
        axes = equation.input_axes(equation.inputs, len(input_shape))
        labelled = zip(equation.inputs, axes, strict=True)
        own = {axis for label, axis in labelled if label in equation.kernel}
        return math.prod(size for axis, size in enumerate(input_shape) if axis not in own)

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray | None:
        """Return the inputs with the axes that are summed over as columns."""
        equation = EinsumEquation.read(layer.equation)
        if equation.shared:
            return None
        axes = equation.input_axes(equation.contracted, inputs.ndim)
        width = math.prod(inputs.shape[axis] for axis in axes)
        return np.moveaxis(inputs, axes, range(-len(axes), 0)).reshape(-1, width)

    def output_rows(self, layer: Any, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs with the axes that pass through first, in the order of the inputs."""
        equation = EinsumEquation.read(layer.equation)
        elided = outputs.ndim - len(equation.outputs)
        start = elided if equation.ellipsis == "left" else 0
        rest = range(elided) if start else range(len(equation.outputs), outputs.ndim)
        labelled = [start + equation.outputs.index(c) for c in equation.kept + equation.made]
        kept, made = labelled[: len(equation.kept)], labelled[len(equation.kept) :]
        first = (*rest, *kept) if start else (*kept, *rest)
        width = math.prod(outputs.shape[axis] for axis in made)
        return np.transpose(outputs, (*first, *made)).reshape(-1, width)

    def unit_bias(self, layer: Any, name: str) -> Any:
        """Return the bias if it has all axes that the kernel makes, in their order."""
        equation = EinsumEquation.read(layer.equation)
        in_order = "".join(c for c in equation.outputs if c in equation.made)
        return super().unit_bias(layer, name) if in_order == equation.made else None

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return a reason unless the last axis of the inputs is multiplied by a matrix."""
        equation = EinsumEquation.read(layer.equation)
        last = equation.inputs[-1:]
        plain = (
            equation.kernel == last + equation.made
            and len(equation.made) == 1
            and equation.outputs == equation.inputs[:-1] + equation.made
            and equation.ellipsis != "right"
        )
        if not plain:
            return f"{layer.equation} is more than one matrix product"
        return None if layer.bias_axes in (None, equation.made) else "its bias has several axes"


class ConvolutionKind(LayerKind):
    """A convolution: `(*kernel_size, channels / groups, filters)`."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the kernel: patches in, filters out."""
        rank = len(layer.kernel_size)
        groups = getattr(layer, "groups", 1)
        # A group for each input channel is a depthwise convolution, whatever its class.
        depthwise = groups > 1 and layer.kernel.shape[rank] == 1
        patch, filters = tuple(range(rank + 1)), (rank + 1,)
        return {"kernel": KernelAxes(patch, filters, groups, depthwise, default=not depthwise)}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return the number of positions of the output."""
        return math.prod(output_shape) / output_shape[channel_axis(layer)]

    def rows(self, layer: Any, inputs: np.ndarray, choose: Choose | None = None) -> np.ndarray:
        """Return every patch that the convolution multiplies, in the order of the kernel."""
        images = np.moveaxis(inputs, channel_axis(layer), -1)
        groups = getattr(layer, "groups", 1)
        parts = [
            extract_patches(
                part, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding, choose
            )
            for part in np.split(images, groups, axis=-1)
        ]
        return parts[0] if groups == 1 else np.stack(parts)

    def chosen_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any, choose: Choose
    ) -> dict[str, np.ndarray]:
        """Return some of the patches; all of them take much memory."""
        return {"kernel": self.rows(layer, inputs, choose)}

    def output_rows(self, layer: Any, outputs: np.ndarray) -> np.ndarray:
        """Return the filters at each position."""
        outputs = np.moveaxis(outputs, channel_axis(layer), -1)
        return outputs.reshape(-1, outputs.shape[-1])

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return a reason unless the filters are 1x1 and in one group."""
        if math.prod(layer.kernel_size) > 1:
            return "its filters are larger than 1x1"
        return None if layer.groups == 1 else "its filters are in groups"


class DepthwiseKind(ConvolutionKind):
    """A depthwise convolution: `(*kernel_size, channels, multiplier)`."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the kernel: the window in, channels and multiplier out."""
        rank = len(layer.kernel_size)
        channels = layer.kernel.shape[rank]
        axes = KernelAxes(
            tuple(range(rank)), (rank, rank + 1), channels, depthwise=True, default=False
        )
        return {"kernel": axes}

    def rows(self, layer: Any, inputs: np.ndarray, choose: Choose | None = None) -> np.ndarray:
        """Return the windows of each channel, `(channels, rows, window)`."""
        patches = super().rows(layer, inputs, choose)
        window = math.prod(layer.kernel_size)
        return np.moveaxis(patches.reshape(len(patches), window, -1), -1, 0)

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return that it is not."""
        return LayerKind.why_not_one_product(self, layer)


class SeparableKind(ConvolutionKind):
    """A depthwise convolution, then a 1x1 convolution."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of both kernels."""
        rank = len(layer.kernel_size)
        channels = layer.depthwise_kernel.shape[rank]
        window, last = tuple(range(rank)), rank + 1
        return {
            "depthwise_kernel": KernelAxes(
                window, (rank, last), channels, depthwise=True, default=False
            ),
            "pointwise_kernel": KernelAxes(tuple(range(rank + 1)), (last,)),
        }

    def rows(self, layer: Any, inputs: np.ndarray, choose: Any = None) -> None:
        """Return `None`: the inputs of the 1x1 convolution are not the layer's."""
        return

    chosen_rows = LayerKind.chosen_rows

    def kernel_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any = None
    ) -> dict[str, np.ndarray]:
        """Return what the 1x1 convolution multiplies: the outputs of the depthwise one."""
        middle = ops.depthwise_conv(
            inputs,
            layer.depthwise_kernel,
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        return {"pointwise_kernel": self.output_rows(layer, ops.convert_to_numpy(middle))}

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return that it is not."""
        return LayerKind.why_not_one_product(self, layer)


class TransposedKind(LayerKind):
    """A transposed convolution: `(*kernel_size, filters, channels)`."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the kernel: the channels in, filters and their window out."""
        rank = len(layer.kernel_size)
        return {"kernel": KernelAxes((rank + 1,), (*range(rank), rank))}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return the number of positions of the input."""
        return math.prod(input_shape) / input_shape[channel_axis(layer)]

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the channels at all positions."""
        images = np.moveaxis(inputs, channel_axis(layer), -1)
        return images.reshape(-1, images.shape[-1])


class RecurrentKind(LayerKind):
    """A recurrent layer: its cell's kernels, once a step."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of both kernels: `(in_dim, gates)` and `(units, gates)`."""
        return {"kernel": _MATRIX, "recurrent_kernel": _MATRIX}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return batch times steps."""
        return input_shape[0] * input_shape[1]

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs at all steps; the other kernel multiplies the states."""
        return inputs.reshape(-1, inputs.shape[-1])

    def kernel_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any = None
    ) -> dict[str, np.ndarray]:
        """Return the inputs at all steps, and the states before them."""
        rows = {"kernel": self.rows(layer, inputs)}
        if getattr(layer, "reset_after", True):
            # A gated unit without it multiplies a part of the kernel by other states.
            rows["recurrent_kernel"] = _states(layer, inputs, mask)
        return rows


class CellKind(RecurrentKind):
    """One step of a recurrent layer."""

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return the size of the batch."""
        return math.prod(input_shape[:-1])


class RecurrentConvolutionKind(LayerKind):
    """A convolutional recurrent layer: both kernels are convolutions, once a step."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of both kernels."""
        rank = len(layer.kernel_size)
        axes = KernelAxes(tuple(range(rank + 1)), (rank + 1,))
        return {"kernel": axes, "recurrent_kernel": axes}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> float:
        """Return batch times steps times positions."""
        # As many positions for the state as for the input; the axis of the steps may be gone.
        grid = output_shape[-1 - len(layer.kernel_size) :]
        channels = -1 if layer.data_format == "channels_last" else 0
        return input_shape[0] * input_shape[1] * math.prod(grid) / grid[channels]


class EmbeddingKind(LayerKind):
    """An embedding: a row is looked up, nothing is multiplied."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the table, `(tokens, features)`."""
        return {"embeddings": _MATRIX}


class ReversibleEmbeddingKind(EmbeddingKind):
    """An embedding that also multiplies by its table, or by one of its own for the way back."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the table, and of the one for the way back where it has one."""
        if layer.tie_weights:
            return super().kernels(layer)
        back = KernelAxes((0,), (1,), default=False)
        return {"embeddings": _MATRIX, "reverse_embeddings": back}

    def uses(self, layer: Any, input_shape: Shape, output_shape: Shape) -> Mapping[str, float]:
        """Return the number of positions for the way back, nothing for a look-up."""
        if len(output_shape) != len(input_shape):
            return {}
        name = "embeddings" if layer.tie_weights else "reverse_embeddings"
        return {name: math.prod(input_shape[:-1])}


class AttentionKind(LayerKind):
    """`keras.layers.Attention`: scores and means, no kernel."""

    def products_of_inputs(self, layer: Any, arguments: tuple[Any, Any]) -> int:
        """Return `batch T S (key_dim + value_dim)` for `T` queries that look at `S` values."""
        args, kwargs = arguments
        query, value, *key = args[0] if args else kwargs["inputs"]
        # The scores of this mode are sums.
        scored = 0 if layer.score_mode == "concat" else (*key, value)[0].shape[-1]
        return math.prod(query.shape[:-1]) * value.shape[1] * (scored + value.shape[-1])


class MultiHeadAttentionKind(LayerKind):
    """Attention with projections, which are layers of their own."""

    def products_of_inputs(self, layer: Any, arguments: tuple[Any, Any]) -> int:
        """Return `batch heads T S (key_dim + value_dim)` for `T` queries and `S` values."""
        args, kwargs = arguments
        named = dict(zip(("query", "value"), args, strict=False)) | kwargs
        query, value = tuple(named["query"].shape), tuple(named["value"].shape)
        axes, widths = self._axes_and_widths(layer)
        return math.prod(query[:-1]) * math.prod(value[axis] for axis in axes) * widths

    def _axes_and_widths(self, layer: Any) -> tuple[tuple[int, ...], int]:
        return layer.attention_axes, layer.num_heads * (layer.key_dim + layer.value_dim)


class GroupedQueryAttentionKind(MultiHeadAttentionKind):
    """Attention whose heads share keys and values in groups."""

    def _axes_and_widths(self, layer: Any) -> tuple[tuple[int, ...], int]:
        return (1,), 2 * layer.num_query_heads * layer.head_dim


def _states(layer: Any, inputs: np.ndarray, mask: Any) -> np.ndarray:
    """Return the state before each step, as rows in the order of the steps of the inputs."""
    backwards = slice(None, None, -1 if layer.go_backwards else 1)
    sequence = ops.convert_to_tensor(inputs[:, backwards])
    kept = None if mask is None else ops.convert_to_tensor(ops.convert_to_numpy(mask)[:, backwards])
    states, seen = layer.get_initial_state(batch_size=len(inputs)), []
    for step in range(sequence.shape[1]):
        seen.append(ops.convert_to_numpy(states[0]))
        _, new = layer.cell(sequence[:, step], states, training=False)
        if kept is not None:
            # A masked step leaves the states as they are.
            here = kept[:, step, None]
            new = [ops.where(here, a, b) for a, b in zip(new, states, strict=True)]
        states = new
    return np.stack(seen[backwards], axis=1).reshape(-1, layer.units)


def channel_axis(layer: Any) -> int:
    """Return the axis of the channels of a layer's inputs."""
    return -1 if layer.data_format == "channels_last" else 1


_STOCK: dict[LayerKind, tuple[type, ...]] = {
    DenseKind(): (layers.Dense,),
    EinsumDenseKind(): (layers.EinsumDense,),
    ConvolutionKind(): (layers.Conv1D, layers.Conv2D, layers.Conv3D),
    DepthwiseKind(): (layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    SeparableKind(): (layers.SeparableConv1D, layers.SeparableConv2D),
    TransposedKind(): (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose),
    RecurrentKind(): (layers.SimpleRNN, layers.LSTM, layers.GRU),
    CellKind(): (layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell),
    RecurrentConvolutionKind(): (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D),
    EmbeddingKind(): (layers.Embedding,),
    ReversibleEmbeddingKind(): (layers.ReversibleEmbedding,),
    AttentionKind(): (layers.Attention,),
    MultiHeadAttentionKind(): (layers.MultiHeadAttention,),
    GroupedQueryAttentionKind(): (layers.GroupQueryAttention,),
    ElementwiseKind(): (
        layers.BatchNormalization,
        layers.LayerNormalization,
        layers.GroupNormalization,
        layers.RMSNormalization,
        layers.SpectralNormalization,
        layers.Normalization,
        layers.PReLU,
    ),
}
for _kind, _classes in _STOCK.items():
    for _class in _classes:
        register_layer(_class, _kind)
