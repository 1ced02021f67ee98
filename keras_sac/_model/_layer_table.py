"""The table of layer classes: the kernels of a layer, their axes, and how the layer uses them.

`footprint`, target selection, sparsity patterns, `to_sparse_runtime` and the SAC layers read it.
The entries for Keras' layers are in `_stock_layers.py`; `register_layer` adds others.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

Shape = tuple[int, ...]
# From a number of rows to the numbers of those that are wanted.
Choose = Callable[[int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class KernelAxes:
    """The axes of a kernel, and the matrix that it is: `(in_dim, units)`.

    Args:
        inputs: axes that the layer sums over, in the order in which a row of inputs has them.
        outputs: axes that number the outputs, in the order of the columns of the matrix.
        groups: the layer multiplies as many groups of inputs by as many groups of columns.
        depthwise: each input channel has columns of its own. Such a kernel is never pruned.
        default: whether pruning and regularization select the kernel whatever its name is.

    Examples:
        >>> from keras_sac import KernelAxes
        >>> axes = KernelAxes(inputs=(0, 1, 2), outputs=(3,))  # of a Conv2D
        >>> axes.to_matrix(np.zeros((3, 3, 8, 16))).shape
        (72, 16)
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    groups: int = 1
    depthwise: bool = False
    default: bool = True

    @property
    def input_axis(self) -> int:
        """The axis of the input channels."""
        return self.outputs[0] if self.depthwise else self.inputs[-1]

    @property
    def output_axis(self) -> int:
        """The axis of the output channels."""
        return self.outputs[-1]

    def to_matrix(self, kernel: Any, xp: Any = np) -> Any:
        """Return a kernel as a matrix `(in_dim, units)`; `xp` is NumPy or `keras.ops`."""
        ordered = xp.transpose(kernel, (*self.inputs, *self.outputs))
        return xp.reshape(ordered, (math.prod(kernel.shape[a] for a in self.inputs), -1))

    def from_matrix(self, matrix: Any, shape: Shape, xp: Any = np) -> Any:
        """Return a matrix `(in_dim, units)` as a kernel of `shape`: the inverse of `to_matrix`."""
        axes = (*self.inputs, *self.outputs)
        ordered = xp.reshape(matrix, tuple(shape[axis] for axis in axes))
        return xp.transpose(ordered, [axes.index(axis) for axis in range(len(axes))])


class LayerKind:
    """What keras_sac knows about a class of layers.

    A subclass describes the kernels and how often a call uses them; the other methods have
    defaults. Register an instance for a class with `register_layer`; it holds for subclasses of
    that class too.

    Examples:
        >>> from keras_sac import KernelAxes, LayerKind
        >>> class MixingKind(LayerKind):
        ...     def kernels(self, layer):
        ...         return {"mixing": KernelAxes(inputs=(0,), outputs=(1,))}
        ...     def uses(self, layer, input_shape, output_shape):
        ...         return input_shape[0]
        >>> list(MixingKind().kernels(None))
        ['mixing']
    """

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of each kernel, by the name of its variable; built layers only."""
        return {}

    def uses(
        self, layer: Any, input_shape: Shape, output_shape: Shape
    ) -> float | Mapping[str, float]:
        """Return how often one call multiplies by each kernel.

        Args:
            layer: built.
            input_shape: of the first input, batch axis included.
            output_shape: of the first output, batch axis included.

        Returns:
            One number for all kernels, or one for each kernel that is used, by its name.
        """
        return 0

    def multiplied(self, layer: Any) -> dict[str, Any]:
        """Return the arrays that a call multiplies by, by the names in `uses`.

        A kernel with LoRA adapters is their sum. A quantized kernel is unpacked, in integers
        without scale: its zeros are the zeros of the product.
        """
        names = self.kernels(layer)
        return {v.name: _effective(layer, v) for v in layer.weights if v.name in names}

    def products_of_inputs(self, layer: Any, arguments: tuple[Any, Any]) -> int:
        """Return the multiplications of inputs by inputs in a call, as attention has them.

        Args:
            layer: built.
            arguments: of the call, positional and by name.
        """
        return 0

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray | None:
        """Return the inputs as rows, so that `rows @ matrix` is the product with the kernel.

        Args:
            layer: its kernel may not be built yet.
            inputs: a batch, as the layer takes it.

        Returns:
            `(rows, in_dim)`; `(groups, rows, in_dim)` for a kernel in groups; `None` if the layer
            does not multiply rows of its inputs.
        """
        return None

    def kernel_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any = None
    ) -> dict[str, np.ndarray]:
        """Return the rows that each kernel multiplies, by the name of its variable.

        Kernels whose rows are not known are left out. By default, `rows` are those of the first.

        Args:
            layer: built.
            inputs: a batch, as the layer takes it.
            mask: of the inputs, where they have one. Masked positions have rows, too.
        """
        rows = self.rows(layer, inputs)
        return {} if rows is None else {next(iter(self.kernels(layer))): rows}

    def chosen_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any, choose: Choose
    ) -> dict[str, np.ndarray]:
        """Return some of the rows of `kernel_rows`; override it to make no others.

        Args:
            layer: built.
            inputs: a batch, as the layer takes it.
            mask: of the inputs, where they have one.
            choose: from the number of rows to the numbers of those that are wanted.
        """
        return {
            # What is no matrix is for the caller to refuse.
            name: rows if rows.ndim < 2 else rows[..., choose(rows.shape[-2]), :]
            for name, rows in self.kernel_rows(layer, inputs, mask).items()
        }

    def output_rows(self, layer: Any, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs as rows, in the order of `rows` and of the columns of the matrix.

        Args:
            layer: built.
            outputs: a batch, before the activation, or anything of its shape.

        Returns:
            `(rows, units)`, with all groups side by side.
        """
        return outputs.reshape(-1, outputs.shape[-1])

    def unit_bias(self, layer: Any, name: str) -> keras.Variable | None:
        """Return the bias that adds a number to each column of a kernel's product.

        Args:
            layer: built.
            name: of the kernel.

        Returns:
            The variable, its entries in the order of the columns; `None` if there is none.
        """
        kernel = next(each for each in layer.weights if each.name == name)
        units = math.prod(kernel.shape[axis] for axis in self.kernels(layer)[name].outputs)
        biases = [each for each in layer.weights if each.name == "bias"]
        return next((each for each in biases if math.prod(each.shape) == units), None)

    def why_not_one_product(self, layer: Any) -> str | None:
        """Return why the layer is more than one matrix product at each position, else `None`."""
        return "not a Dense, an EinsumDense or a 1x1 convolution"


def _effective(layer: Any, variable: keras.Variable) -> Any:
    if not layer.quantization_mode and not getattr(layer, "lora_enabled", False):
        return variable
    # The property of this name unpacks integers and adds the adapters.
    values = keras.ops.convert_to_numpy(getattr(layer, variable.name, variable))
    zero_point = getattr(layer, f"{variable.name}_zero", None)
    if zero_point is None:
        return values
    # In int4, groups of inputs (of an embedding: groups of features) have zero points.
    zero_point = keras.ops.convert_to_numpy(zero_point).astype("int32")
    groups = keras.ops.convert_to_numpy(layer.g_idx).astype("int32")
    axis = 1 if variable.name == "embeddings" else 0
    return values - np.take(zero_point, groups, axis=axis).reshape(values.shape)


_KINDS: dict[type, LayerKind] = {}


def register_layer(layer_class: type, kind: LayerKind) -> None:
    """Tell keras_sac about a class of layers: its kernels, and how often a call uses them.

    `footprint` then counts its operations, and pruning, regularization and reports know its
    kernels. An entry holds for subclasses as well; the nearest class decides.

    Args:
        layer_class: subclass of `keras.layers.Layer`. An entry that exists is replaced.
        kind: describes it.

    Raises:
        ValueError: if `layer_class` is no class of layers, or `kind` no instance of `LayerKind`.

    Examples:
        >>> import keras
        >>> from keras_sac import KernelAxes, LayerKind, register_layer
        >>> class Mixing(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.mixing = self.add_weight((input_shape[-1], 4), name="mixing")
        ...     def call(self, inputs):
        ...         return keras.ops.matmul(inputs, self.mixing)
        >>> class MixingKind(LayerKind):
        ...     def kernels(self, layer):
        ...         return {"mixing": KernelAxes(inputs=(0,), outputs=(1,))}
        ...     def uses(self, layer, input_shape, output_shape):
        ...         return input_shape[0]
        >>> register_layer(Mixing, MixingKind())
    """
    if not isinstance(layer_class, type) or not issubclass(layer_class, keras.layers.Layer):
        raise ValueError(
            f"`layer_class` must be a subclass of `keras.layers.Layer`. Received: {layer_class!r}"
        )
    if not isinstance(kind, LayerKind):
        raise ValueError(
            f"`kind` must be an instance of a subclass of `keras_sac.LayerKind`. Received: {kind!r}"
        )
    _KINDS[layer_class] = kind


def kind_of(layer: Any) -> LayerKind | None:
    """Return what the table says about a layer or a class, `None` for unknown classes."""
    layer_class = layer if isinstance(layer, type) else type(layer)
    return next((_KINDS[each] for each in layer_class.__mro__ if each in _KINDS), None)


def why_not_one_product(layer: Any) -> str | None:
    """Return why another product cannot take the place of a layer, `None` if one can."""
    if layer.quantization_mode is not None:
        return "it is quantized"
    # A subclass may do more than its class does.
    kind = _KINDS.get(type(layer), LayerKind())
    return kind.why_not_one_product(layer)
