"""What convolutions with fixed basis filters and a trained 1x1 learner share."""

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_sac._model import kind_of
from keras_sac.layers._product_order import factored_is_cheaper
from keras_sac.layers._subspace_layer import SubspaceLayer

# Entries of the patches that `adapt` holds at once: 64 MiB in float32.
_PATCH_ENTRIES = 1 << 24


class SACConv(SubspaceLayer):
    """What the three convolutions share; the subclasses fix the number of spatial axes."""

    _stock: ClassVar[type]
    _adapt_batch_size = 256

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
        # The stock layer knows which arguments go together, and in which form.
        stock = self._stock(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            # Not a name of its own, which would use up one of Keras' automatic names.
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
        grid = self._grid(input_shape)
        receptive_field = int(np.prod(self.kernel_size))
        # The variance that `glorot_uniform` gives a convolution counts every tap of a filter.
        self._add_subspace_weights(grid, self.filters, fan_out=receptive_field * self.filters)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(self.kernel_size) + 2, axes={self._channel_axis: grid[-1]}
        )
        self._two_products = factored_is_cheaper(None, self.in_dim, self.rank, self.filters)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the convolved input, batch axis included."""
        return tuple(self._make_stock(name=self.name).compute_output_shape(tuple(input_shape)))

    def get_config(self) -> dict[str, Any]:
        """Return the configuration; the basis is named by its kind, its matrix is a weight."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    def _grid(self, input_shape: Any) -> tuple[int, ...]:
        return (*self.kernel_size, input_shape[self._channel_axis])

    def _samples(self, inputs: np.ndarray) -> np.ndarray:
        if inputs.ndim != len(self.kernel_size) + 2:
            raise ValueError(
                f"{self.name!r} takes inputs with {len(self.kernel_size) + 2} axes (batch, space, "
                f"channels); received a batch of shape {inputs.shape}."
            )
        return kind_of(self._stock).rows(self, inputs)

    def _samples_at_once(self, inputs: np.ndarray) -> int:
        # Each entry is in as many patches as a kernel has taps.
        taps = np.prod(self.kernel_size) / np.prod(self.strides)
        return max(1, int(_PATCH_ENTRIES / (max(1.0, taps) * inputs[0].size)))

    def _factored(self, inputs: Any) -> bool:
        return self._two_products

    def _apply_basis(self, inputs: Any) -> Any:
        filters = ops.reshape(self.basis, (*self._kernel_shape()[:-1], self.rank))
        return self._apply_kernel(inputs, filters)

    def _apply_learner(self, projections: Any) -> Any:
        if self.data_format == "channels_last":
            return ops.matmul(projections, self.learner)
        ones = (1,) * len(self.kernel_size)
        kernel = ops.reshape(self.learner, (*ones, self.rank, self.filters))
        return ops.conv(projections, kernel, data_format=self.data_format)

    def _apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        padding = self.padding
        if padding == "causal":
            # Only one-dimensional, and unknown to `ops.conv`.
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

    def _over_channels(self, vector: Any) -> Any:
        if self.data_format == "channels_last":
            return vector
        return ops.reshape(vector, (1, -1, *(1,) * len(self.kernel_size)))

    _over_projections = _over_channels
    _over_outputs = _over_channels

    def _add_bias(self, outputs: Any) -> Any:
        if self.data_format == "channels_last":
            return ops.add(outputs, self.bias)
        # In this order: on TensorFlow, Keras takes a second operand for a bias of the last axis
        # where the sizes agree, and adds it there (keras 3.15, also in its own Conv2D).
        return ops.add(self._over_outputs(self.bias), outputs)

    def _kernel_shape(self) -> tuple[int, ...]:
        channels = self.in_dim // int(np.prod(self.kernel_size))
        return (*self.kernel_size, channels, self.filters)

    def _make_stock(self, filters: int | None = None, **kwargs: Any) -> Any:
        return self._stock(
            self.filters if filters is None else filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            **kwargs,
        )

    def _stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        return self._built(self._make_stock(**kwargs), self._kernel_shape()[-2])

    def _basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        return self._built(self._make_stock(self.rank, **kwargs), self._kernel_shape()[-2])

    def _learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        layer = self._stock(self.filters, 1, data_format=self.data_format, **kwargs)
        return self._built(layer, self.rank)

    def _built(self, layer: Any, channels: int) -> keras.layers.Layer:
        # Large enough for any kernel: the sizes of the space leave no trace in the weights.
        space = [1 + (k - 1) * d for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        last = self.data_format == "channels_last"
        layer.build((None, *space, channels) if last else (None, channels, *space))
        return layer
