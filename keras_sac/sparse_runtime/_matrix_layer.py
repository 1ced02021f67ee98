"""`MatrixLayer`: a layer that is one matrix product, and takes the place of another."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import KernelAxes, kind_of


def kernel_of(layer: keras.layers.Layer) -> np.ndarray:
    """Return the kernel of a layer that is one matrix product, `(in_dim, units)`."""
    return _axes_of(layer).to_matrix(ops.convert_to_numpy(layer.kernel))


def settings_of(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return the arguments of a `MatrixLayer` that takes the place of a layer.

    Activity regularizers, and what else is for training, are left out.
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
    """Return the shape that a `MatrixLayer` in the place of a layer is built with."""
    in_dim = layer.kernel.shape[_axes_of(layer).input_axis]
    axes = (None,) * len(getattr(layer, "strides", ()))
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return (None, in_dim, *axes) if first else (None, *axes, in_dim)


def _axes_of(layer: keras.layers.Layer) -> KernelAxes:
    kind = kind_of(layer)
    if kind is None:
        raise ValueError(f"The table of layer classes does not know {type(layer).__name__}.")
    return kind.kernels(layer)["kernel"]


class MatrixLayer(keras.layers.Layer):
    """One product with a fixed matrix, at each position; how, is for subclasses to say.

    Args:
        units: positive integer, size of the output.
        strides: one for each spatial axis of the 1x1 convolution that this is; none otherwise.
        data_format: `"channels_last"`, or `"channels_first"` of a convolution.
        activation: as in `keras.layers.Dense`.
        use_bias: whether there is a bias.
        supports_masking: whether a mask of the inputs is one of the outputs.
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
        """Add the bias, which is not trained, for inputs of `input_shape`."""
        self.in_dim = input_shape[self._channels]
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer="zeros", trainable=False
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `activation(x W + bias)`; refuse to train."""
        if training:
            raise ValueError(
                f"The layer {self.name!r} is for inference: it has no trainable weights. Train the "
                "model that `to_sparse_runtime` was given, and make a new one of it."
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

    def _product(self, x: Any) -> Any:
        """Return `x W`, `(rows, units)`, of `(rows, in_dim)`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_product`.")

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of what comes out."""
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
