"""Base class of the SAC convolutions: fixed basis filters, then a trained 1x1 learner."""

import math
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_sac.layers._subspace_layer import SubspaceLayer

# Entries of the patches that `adapt` holds at once: 64 MiB in float32.
_PATCH_ENTRIES = 1 << 24


class SACConv(SubspaceLayer):
    """Convolution with fixed basis filters; `stock_class` fixes the number of spatial axes."""

    adapt_batch_size: ClassVar[int] = 256

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        basis: Any,
        *,
        rank: int | None = None,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(basis, rank=rank, activation=activation, use_bias=use_bias, **kwargs)
        # The stock layer checks the arguments and brings them into its own form.
        stock = self.stock_class(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            # An automatic name would change the names of the user's next layers.
            name=self.name,
        )
        self.filters = int(filters)
        self.kernel_size = tuple(stock.kernel_size)
        self.strides = tuple(stock.strides)
        self.padding = stock.padding
        self.data_format = stock.data_format
        self.dilation_rate = tuple(stock.dilation_rate)
        self.input_spec = keras.layers.InputSpec(ndim=len(self.kernel_size) + 2)

    def build(self, input_shape: Any) -> None:
        """Add the weights for inputs of shape `input_shape`, batch axis included."""
        grid = self.input_grid(input_shape)
        # The variance that `glorot_uniform` gives a convolution counts every tap of a filter.
        self.add_subspace_weights(
            grid, self.filters, fan_out=math.prod(self.kernel_size) * self.filters
        )
        self.input_spec = keras.layers.InputSpec(
            ndim=len(self.kernel_size) + 2, axes={self._channel_axis: grid[-1]}
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the convolved input, batch axis included."""
        return tuple(
            self._convolution(self.filters, name=self.name).compute_output_shape(tuple(input_shape))
        )

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. It names the kind of the basis; the matrix is a weight."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    def input_grid(self, input_shape: Any) -> tuple[int, ...]:
        """Return the shape of a patch, `(*kernel_size, channels)`."""
        return (*self.kernel_size, input_shape[self._channel_axis])

    def kernel_shape(self) -> tuple[int, ...]:
        """Return `(*kernel_size, channels, filters)`."""
        return (*self.kernel_size, self._channels, self.filters)

    def rows(self, inputs: np.ndarray) -> np.ndarray:
        """Return every patch that the convolution multiplies, one per row."""
        ndim = len(self.kernel_size) + 2
        if inputs.ndim != ndim:
            raise ValueError(
                f"The inputs of {self.name!r} must have {ndim} axes (batch, space, channels). "
                f"Received: a batch of shape {inputs.shape}"
            )
        return super().rows(inputs)

    def samples_at_once(self, inputs: np.ndarray) -> int:
        """Return how many images have patches that fit in 64 MiB."""
        # Each entry is in as many patches as a kernel has taps.
        taps = math.prod(self.kernel_size) / math.prod(self.strides)
        return max(1, int(_PATCH_ENTRIES / (max(1.0, taps) * inputs[0].size)))

    def apply_basis(self, inputs: Any) -> Any:
        """Return the convolution with the `rank` basis filters."""
        filters = ops.reshape(self.basis, (*self.kernel_size, self._channels, self.rank))
        return self.apply_kernel(inputs, filters)

    def apply_learner(self, projections: Any) -> Any:
        """Return the 1x1 convolution with the learner."""
        if self.data_format == "channels_last":
            return ops.matmul(projections, self.learner)
        ones = (1,) * len(self.kernel_size)
        kernel = ops.reshape(self.learner, (*ones, self.rank, self.filters))
        return ops.conv(projections, kernel, data_format=self.data_format)

    def apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution with a kernel `(*kernel_size, channels, n)`."""
        padding = self.padding
        if padding == "causal":
            # Only in one dimension, and `ops.conv` does not know it.
            left = (self.kernel_size[0] - 1) * self.dilation_rate[0]
            pads = [(0, 0)] * 3
            pads[1 if self.data_format == "channels_last" else 2] = (left, 0)
            inputs, padding = ops.pad(inputs, pads), "valid"
        return ops.conv(
            inputs,
            kernel,
            strides=list(self.strides),
            padding=padding,
            data_format=self.data_format,
            dilation_rate=list(self.dilation_rate),
        )

    def broadcast_to_outputs(self, vector: Any) -> Any:
        """Reshape a vector of channels so that it broadcasts over outputs."""
        if self.data_format == "channels_last":
            return vector
        return ops.reshape(vector, (1, -1, *(1,) * len(self.kernel_size)))

    def broadcast_to_projections(self, vector: Any) -> Any:
        """Reshape a vector of channels so that it broadcasts over projections."""
        return self.broadcast_to_outputs(vector)

    def add_bias(self, outputs: Any) -> Any:
        """Return the outputs plus the bias of each channel."""
        if self.data_format == "channels_last":
            return ops.add(outputs, self.bias)
        # The bias first: on TensorFlow, Keras takes a second operand for a bias of the last axis
        # if the sizes agree, and adds it there (keras 3.15, also in its own Conv2D).
        return ops.add(self.broadcast_to_outputs(self.bias), outputs)

    def make_stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built convolution with `filters` filters."""
        return self._built(self._convolution(self.filters, **kwargs), self._channels)

    def make_basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built convolution with `rank` filters."""
        return self._built(self._convolution(self.rank, **kwargs), self._channels)

    def make_learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built 1x1 convolution from `rank` channels to `filters`."""
        layer = self.stock_class(self.filters, 1, data_format=self.data_format, **kwargs)
        return self._built(layer, self.rank)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    @property
    def _channels(self) -> int:
        return self.in_dim // math.prod(self.kernel_size)

    def _convolution(self, filters: int, **kwargs: Any) -> Any:
        return self.stock_class(
            filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            **kwargs,
        )

    def _built(self, layer: Any, channels: int) -> keras.layers.Layer:
        # Large enough for any kernel; the weights do not depend on the spatial sizes.
        space = [1 + (k - 1) * d for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        last = self.data_format == "channels_last"
        layer.build((None, *space, channels) if last else (None, channels, *space))
        return layer
