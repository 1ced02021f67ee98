"""What is known of a variable: its axes, and whether it is a kernel."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import keras

KERNEL_NAMES = ("kernel", "embeddings", "recurrent_kernel", "pointwise_kernel", "learner")

_NEVER = ("bias", "gamma", "beta", "scale")
_DEPTHWISE_NAME = re.compile(r"depthwise|(^|[_/])dw(conv)?([_/\d]|$)")
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A variable, as those see it who make kernels sparse.

    Attributes:
        index: position among the variables of the optimizer.
        path: `variable.path`.
        shape: of the variable.
        output_axis: the axis of the output channels.
        input_axis: the axis of the input channels.
        obstacle: why it is no kernel, so not chosen by default; `None` if it is one.
        unsuited: whether the obstacle also holds where a layer, a regex or a callable picks it.
    """

    index: int
    path: str
    shape: tuple[int, ...]
    output_axis: int
    input_axis: int
    obstacle: str | None
    unsuited: bool

    @property
    def size(self) -> int:
        """Number of weights."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


def describe(
    variables: Sequence[keras.Variable], layers: Sequence[keras.layers.Layer] = ()
) -> list[Kernel]:
    """Describe each variable.

    A variable does not know its layer. Where its layer is among `layers` the description is
    certain; else the bias next to the kernel tells a transposed or a depthwise convolution.

    Args:
        variables: of a model.
        layers: layers whose variables may be among them.

    Returns:
        One description for each variable, in order.
    """
    owners = _owners(layers)
    shapes = {
        v.path.rsplit("/", 1)[0]: tuple(int(extent) for extent in v.shape)
        for v in variables
        if v.path.rsplit("/", 1)[-1] == "bias"
    }
    biases = {path: shape[0] for path, shape in shapes.items() if len(shape) == 1}
    kernels = []
    for index, variable in enumerate(variables):
        owner: Any = owners.get(id(variable))
        bias = biases.get(variable.path.rsplit("/", 1)[0])
        shape = tuple(int(extent) for extent in variable.shape)
        swapped = _is_transposed(shape, variable.path, owner, bias)
        last, before = len(shape) - 1, len(shape) - 2
        outputs = shapes.get(variable.path.rsplit("/", 1)[0], ())
        if len(outputs) >= 2 and len(shape) >= 3 and outputs == shape[-len(outputs) :]:
            # The projections of an attention: (inputs, heads, size) with a bias (heads, size).
            before = max(len(shape) - len(outputs) - 1, 0)
        obstacle, unsuited = _obstacle(shape, variable.path, owner, bias)
        output, inputs = (before, last) if swapped else (last, before)
        if isinstance(owner, keras.layers.EinsumDense) and len(shape) > 1:
            output, inputs = _einsum_axes(owner.equation, output, inputs)
        kernels.append(
            Kernel(
                index=index,
                path=variable.path,
                shape=shape,
                output_axis=output,
                input_axis=inputs,
                obstacle=obstacle,
                unsuited=unsuited,
            )
        )
    return kernels


def _owners(layers: Sequence[keras.layers.Layer]) -> dict[int, keras.layers.Layer]:
    owners = {}
    for layer in layers:
        # Keras has no public way to see the layers inside a composite layer. Inner layers come
        # after the layer that holds them, and it is they that know what the variable is.
        for inner in layer._flatten_layers():
            owners.update({id(variable): inner for variable in inner.variables})
    return owners


def _einsum_axes(equation: str, output: int, inputs: int) -> tuple[int, int]:
    """Return the last axis of a kernel that stays in the result, and the last that is summed."""
    operands, result = equation.split("->")
    axes = list(enumerate(operands.split(",")[1].strip()))
    stay = [axis for axis, letter in axes if letter in result]
    summed = [axis for axis, letter in axes if letter not in result]
    return (stay or [output])[-1], (summed or [inputs])[-1]


def _is_transposed(
    shape: tuple[int, ...], path: str, owner: keras.layers.Layer | None, bias: int | None
) -> bool:
    if owner is not None:
        return isinstance(owner, _TRANSPOSED)
    if len(shape) < 3 or not path.endswith("/kernel"):
        return False
    if bias is not None and shape[-1] != shape[-2]:
        return bias == shape[-2]
    return "transpose" in path


def _obstacle(
    shape: tuple[int, ...], path: str, owner: keras.layers.Layer | None, bias: int | None
) -> tuple[str | None, bool]:
    layer_path, _, name = path.rpartition("/")
    if len(shape) < 2:
        return "fewer than two axes (a bias, or the scale of a normalisation)", True
    if name in _NEVER:
        return "a bias, or the scale of a normalisation", True
    depthwise = "depthwise" in name or (
        name == "kernel" and len(shape) >= 3 and _is_depthwise(shape, layer_path, owner, bias)
    )
    if depthwise:
        return "a depthwise kernel, or one of a single filter", True
    if name not in KERNEL_NAMES:
        return f"not one of the names of kernels ({', '.join(KERNEL_NAMES)})", False
    return None, False


def _is_depthwise(
    shape: tuple[int, ...], layer_path: str, owner: keras.layers.Layer | None, bias: int | None
) -> bool:
    if owner is not None:
        return isinstance(owner, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    if bias is not None:
        # (..., inputs, multiplier) with a bias of inputs x multiplier.
        return bias == shape[-1] * shape[-2] and shape[-2] > 1
    return shape[-1] == 1 or bool(_DEPTHWISE_NAME.search(layer_path.rsplit("/", 1)[-1]))
