"""`MatrixLayer`: base class of inference layers that compute one product with a fixed matrix."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import KernelAxes, LayerKind, kind_of, register_layer


def kernel_of(layer: keras.layers.Layer) -> np.ndarray:
    """Return the kernel of a layer as a matrix `(in_dim, units)`.

    Args:
        layer: built layer that is one matrix product (`why_not_one_product` returns `None`).
    """
    return _axes_of(layer).to_matrix(ops.convert_to_numpy(layer.kernel))


def settings_of(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return the arguments of a `MatrixLayer` that replaces a layer.

    Settings that matter only in training, such as an activity regularizer, are left out.
    """
    return {
        "units": layer.kernel.shape[_axes_of(layer).output_axis],
        "strides": getattr(layer, "strides", ()),
        "data_format": getattr(layer, "data_format", "channels_last"),
        "activation": layer.activation,
        "use_bias": layer.bias is not None,
        "supports_masking": layer.supports_masking,
        "name": layer.name,
        "dtype": layer.dtype_policy,
    }


def input_shape_of(layer: keras.layers.Layer) -> tuple[int | None, ...]:
    """Return the input shape for building a `MatrixLayer` that replaces a layer."""
    in_dim = layer.kernel.shape[_axes_of(layer).input_axis]
    axes = (None,) * len(getattr(layer, "strides", ()))
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return (None, in_dim, *axes) if first else (None, *axes, in_dim)


def _axes_of(layer: keras.layers.Layer) -> KernelAxes:
    kind = kind_of(layer)
    if kind is None:
        raise ValueError(
            f"`layer` must be of a class in the table of layer classes. Received: "
            f"{type(layer).__name__}. Add the class with `keras_sac.register_layer`."
        )
    return kind.kernels(layer)["kernel"]


class MatrixLayer(keras.layers.Layer):
    """Base class of layers that multiply each position by a fixed matrix. Subclasses multiply.

    Args:
        units: positive integer, size of the output.
        strides: strides of the replaced 1x1 convolution, one for each spatial axis; empty for
            other layers.
        data_format: `"channels_last"`, or `"channels_first"` for a convolution.
        activation: as in `keras.layers.Dense`.
        use_bias: whether a bias is added.
        supports_masking: whether the mask of the inputs is passed on.
        **kwargs: `name`, `dtype`, as for any Keras layer.
    """

    def __init__(
        self,
        units: int,
        *,
        strides: Any = (),
        data_format: str = "channels_last",
        activation: Any = None,
        use_bias: bool = True,
        supports_masking: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = units
        self.strides = tuple(strides)
        self.data_format = data_format
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.supports_masking = supports_masking

    def build(self, input_shape: Any) -> None:
        """Add the non-trainable bias for inputs of `input_shape`."""
        self.in_dim = input_shape[self._channels]
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer="zeros", trainable=False
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `activation(x W + bias)`; raise if `training` is true."""
        if training:
            raise ValueError(
                f"The layer {self.name!r} is for inference and cannot be trained. Train the dense "
                "model and call `to_sparse_runtime` again."
            )
        first = self._channels == 1
        x = ops.moveaxis(inputs, 1, -1) if first else inputs
        if max(self.strides, default=1) > 1:
            x = x[(slice(None), *(slice(None, None, each) for each in self.strides))]
        flat = x if len(x.shape) == 2 else ops.reshape(x, (-1, self.in_dim))
        y = self._product(flat)
        if self.bias is not None:
            y = ops.add(y, self.bias)
        if len(x.shape) != 2:
            y = ops.reshape(y, (*ops.shape(x)[:-1], self.units))
        y = self.activation(y)
        return ops.moveaxis(y, -1, 1) if first else y

    def dense_kernel(self) -> np.ndarray:
        """Return the kernel `(in_dim, units)` with its zeros."""
        raise NotImplementedError(f"{type(self).__name__} must implement `dense_kernel`.")

    def _product(self, x: Any) -> Any:
        """Return `x W`, shape `(rows, units)`, for `x` of shape `(rows, in_dim)`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_product`.")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the output."""
        shape = list(input_shape)
        shape[self._channels] = self.units
        begin = 2 if self._channels == 1 else 1
        for axis, stride in enumerate(self.strides, begin):
            shape[axis] = None if shape[axis] is None else -(-shape[axis] // stride)
        return tuple(shape)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {
            **super().get_config(),
            "units": self.units,
            "strides": self.strides,
            "data_format": self.data_format,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "supports_masking": self.supports_masking,
        }

    @property
    def _channels(self) -> int:
        return 1 if self.data_format == "channels_first" else -1


class MatrixKind(LayerKind):
    """`y = x W` at each position, with a matrix that is not trained."""

    def uses(
        self, layer: Any, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> float:
        """Return the number of positions of the output."""
        return math.prod(output_shape) / layer.units

    def multiplied(self, layer: Any) -> dict[str, Any]:
        """Return the kernel with its zeros, as the layer that was replaced had it."""
        return {"kernel": layer.dense_kernel()}


register_layer(MatrixLayer, MatrixKind())
