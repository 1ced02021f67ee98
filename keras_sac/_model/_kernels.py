"""Find the kernels of a model: what each variable is, and which of its axes are which."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._arguments import check_keras_3
from keras_sac._model._layer_table import KernelAxes, kind_of
from keras_sac._model._walk import all_layers

KERNEL_NAMES = ("kernel", "embeddings", "recurrent_kernel", "pointwise_kernel", "learner")

_NEVER = ("bias", "gamma", "beta", "scale")
_DEPTHWISE_NAME = re.compile(r"depthwise|(^|[_/])dw(conv)?([_/\d]|$)")
_CONVOLUTION = re.compile(r"conv|transpose|depthwise|separable")
_DEPTHWISE = "a depthwise kernel, or a kernel with a single filter"


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """A variable of a model, and what pruning and regularization need to know about it.

    Attributes:
        variable: the variable itself.
        index: its position among the variables of the optimizer.
        path: `variable.path`.
        shape: of the variable.
        output_axis: the axis of the output channels.
        input_axis: the axis of the input channels.
        skip_reason: why the variable is not selected by default; `None` if it is.
        never: whether a layer, a name, a regular expression or a callable does not select it
            either. The variable itself as a target always does.
        layer: the layer that holds the variable; `None` if it is not known.
        is_guessed: whether the axes are a guess: the layer is not in the table of layer classes,
            and neither a bias nor a name tells a convolution from a transposed one.
    """

    variable: keras.Variable
    index: int
    path: str
    shape: tuple[int, ...]
    output_axis: int
    input_axis: int
    skip_reason: str | None
    never: bool
    layer: keras.layers.Layer | None = None
    is_guessed: bool = False

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def locked(self) -> str | None:
        """Why the variable must not be changed; `None` if it may be."""
        if getattr(self.layer, "quantization_mode", None):
            return "its layer is quantized, so it holds packed integers. Do this before `quantize`"
        if getattr(self.layer, "lora_enabled", False):
            return (
                "its layer has LoRA adapters, and multiplies by their sum. Do this before "
                "`enable_lora`, or save and load the model, which merges the adapters"
            )
        return None

    def values(self) -> np.ndarray:
        """Return what the layer multiplies by: unpacked, and with adapters added."""
        kind = kind_of(self.layer) if self.locked else None
        known = {} if kind is None else kind.multiplied(self.layer)
        return keras.ops.convert_to_numpy(known.get(self.variable.name, self.variable))


def describe(
    variables: Sequence[keras.Variable], layers: Sequence[keras.layers.Layer] = ()
) -> list[Kernel]:
    """Describe each variable.

    A variable does not know its layer. The table of layer classes describes the variables of the
    given layers. For other variables, name and shape decide, and the bias beside a kernel tells a
    transposed or depthwise convolution.

    Args:
        variables: of a model.
        layers: layers whose variables may be among them.

    Returns:
        One description for each variable, in order.
    """
    owners = _owners(layers)
    biases = {v.path.rpartition("/")[0]: _shape(v) for v in variables if v.path.endswith("/bias")}
    return [
        _described(variable, index, owners.get(id(variable)), biases)
        for index, variable in enumerate(variables)
    ]


def kernels_of(model: keras.Model) -> list[Kernel]:
    """Return the kernels of a model, trained or frozen.

    Raises:
        ValueError: if the model is not built or has no kernel.
    """
    described = describe(check_model(model).weights, [model])
    kernels = [kernel for kernel in described if kernel.skip_reason is None]
    if not kernels:
        raise ValueError(
            f"The model {model.name!r} has no kernel. Received the variables: "
            + ("; ".join(f"{k.path} {k.shape}: {k.skip_reason}" for k in described) or "none")
        )
    return kernels


def check_model(model: keras.Model) -> keras.Model:
    """Return the model if it is a built one."""
    check_keras_3("model", model)
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a `keras.Model`. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Call it on a batch, or "
            "`model.build(input_shape)`, first."
        )
    return model


def _owners(layers: Sequence[keras.layers.Layer]) -> dict[int, keras.layers.Layer]:
    owners = {}
    for layer in layers:
        # Inner layers come after the layer that holds them, and own the variable.
        for inner in all_layers(layer):
            owners.update({id(variable): inner for variable in inner.variables})
    return owners


def _shape(variable: keras.Variable) -> tuple[int, ...]:
    return tuple(int(extent) for extent in variable.shape)


def _described(
    variable: keras.Variable,
    index: int,
    owner: keras.layers.Layer | None,
    biases: dict[str, tuple[int, ...]],
) -> Kernel:
    layer_path, _, name = variable.path.rpartition("/")
    shape, bias = _shape(variable), biases.get(layer_path)
    kind = None if owner is None else kind_of(owner)
    axes = None if kind is None else kind.kernels(owner).get(name)
    is_guessed = axes is None and name == "kernel" and not _is_evident(shape, layer_path, bias)
    if axes is None:
        axes = _guessed_axes(shape, variable.path, owner, bias)
    reason, never = _skip_reason(shape, variable.path, axes)
    return Kernel(
        variable=variable,
        index=index,
        path=variable.path,
        shape=shape,
        output_axis=axes.output_axis,
        input_axis=axes.input_axis,
        skip_reason=reason,
        never=never,
        layer=owner,
        is_guessed=is_guessed,
    )


def _guessed_axes(
    shape: tuple[int, ...], path: str, owner: Any, bias: tuple[int, ...] | None
) -> KernelAxes:
    """Return the axes of a variable whose layer is not in the table, or not known."""
    last, before = len(shape) - 1, len(shape) - 2
    is_kernel = path.endswith("/kernel") and len(shape) >= 3
    width = bias[0] if bias is not None and len(bias) == 1 else None
    if owner is None and is_kernel and _is_depthwise(shape, path, width):
        return KernelAxes((0,), (before, last), depthwise=True, default=False)
    if owner is None and is_kernel and _is_transposed(shape, path, width):
        return KernelAxes((last,), (before,), default=False)
    if bias is not None and len(bias) >= 2 and len(shape) >= 3 and bias == shape[-len(bias) :]:
        # The projections of an attention: (inputs, heads, size) with a bias (heads, size).
        before = max(len(shape) - len(bias) - 1, 0)
    return KernelAxes((before,), (last,), default=False)


def _is_evident(shape: tuple[int, ...], layer_path: str, bias: tuple[int, ...] | None) -> bool:
    """Return whether shapes or the name of the layer tell which axes are which."""
    square = len(shape) >= 3 and shape[-1] == shape[-2]
    by_bias = bias is not None and not (len(bias) == 1 and square)
    return len(shape) < 3 or by_bias or bool(_CONVOLUTION.search(layer_path.rpartition("/")[2]))


def _is_transposed(shape: tuple[int, ...], path: str, width: int | None) -> bool:
    if width is not None and shape[-1] != shape[-2]:
        return width == shape[-2]
    return "transpose" in path


def _is_depthwise(shape: tuple[int, ...], path: str, width: int | None) -> bool:
    if width is not None and shape[-2] > 1:
        # (..., inputs, multiplier) with a bias of inputs x multiplier.
        return width == shape[-1] * shape[-2]
    named = bool(_DEPTHWISE_NAME.search(path.split("/")[-2]))
    return named or (width is None and shape[-1] == 1)


def _skip_reason(shape: tuple[int, ...], path: str, axes: KernelAxes) -> tuple[str | None, bool]:
    name = path.rpartition("/")[2]
    if len(shape) < 2:
        return "fewer than two axes (a bias, or the scale of a normalization)", True
    if name in _NEVER:
        return "a bias, or the scale of a normalization", True
    if name.startswith("lora_") or name.endswith(("_scale", "_zero")):
        return "a LoRA adapter or the scale of a quantized kernel, counted with the kernel", True
    if axes.depthwise or "depthwise" in name:
        return _DEPTHWISE, True
    if not axes.default and name not in KERNEL_NAMES:
        return f"not one of the names of kernels ({', '.join(KERNEL_NAMES)})", False
    return None, False
