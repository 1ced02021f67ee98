"""Base class of the SAC convolutions: first with the fixed basis, then with the learner."""

import dataclasses
import math
from typing import Any, ClassVar, cast

import keras
import numpy as np
from keras import ops

from keras_sac._backend import conv
from keras_sac._model import KernelAxes
from keras_sac.layers._conv_reading import ConvReading, Window
from keras_sac.layers._product_order import factored_is_cheaper, rows_of
from keras_sac.layers._stock_versions import stock_kind
from keras_sac.layers._subspace_layer import SubspaceLayer

# Entries of the patches that `adapt` holds at once: 64 MiB in float32.
_PATCH_ENTRIES = 1 << 24


class SACConv(SubspaceLayer):
    """Convolution as two, of which the first is fixed; `stock_class` fixes the number of axes."""

    adapt_batch_size: ClassVar[int] = 256

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        basis: Any,
        *,
        rank: int | None = None,
        reading: str = "patches",
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
        self.reading = reading
        self._window = Window(self.kernel_size, self.strides, self.dilation_rate)
        self._reading = ConvReading.of(reading, self._window)
        if self.center and reading != "patches":
            raise ValueError(
                "`center=True` needs reading='patches'. Received: "
                f"reading={reading!r}, which convolves after the mean is subtracted, and the zeros "
                "that pad its inputs would count as means. Pass `center=False`."
            )
        self.input_spec = keras.layers.InputSpec(ndim=len(self.kernel_size) + 2)

    def build(self, input_shape: Any) -> None:
        """Add the weights for inputs of shape `input_shape`, batch axis included."""
        grid = self.input_grid(input_shape)
        taps = math.prod(self.kernel_size)
        self.add_subspace_weights(
            grid,
            math.prod(self._reading.learner.kernel_size) * self.filters,
            # The variance that `glorot_uniform` gives a convolution counts every tap of a filter.
            fan_in=taps * grid[-1],
            fan_out=taps * self.filters,
            bias_shape=(self.filters,),
        )
        self.input_spec = keras.layers.InputSpec(
            ndim=len(self.kernel_size) + 2, axes={self._channel_axis: grid[-1]}
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of the convolved input, batch axis included."""
        return tuple(
            self._convolution(self._window, self.filters, name=self.name).compute_output_shape(
                tuple(input_shape)
            )
        )

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. It names the kind of the basis; the matrix is a weight."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "reading": self.reading,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    def input_grid(self, input_shape: Any) -> tuple[int, ...]:
        """Return the shape of a patch of the first convolution: `(*kernel_size, channels)`."""
        return (*self._reading.grid, input_shape[self._channel_axis])

    def kernel_shape(self) -> tuple[int, ...]:
        """Return `(*kernel_size, channels, filters)`."""
        return (*self.kernel_size, self._channels, self.filters)

    def kernel_axes(self, factor: Any = None) -> KernelAxes:
        """Return the axes of the kernel; those of the factors have the same."""
        return self._reading.axes

    def rows(self, inputs: np.ndarray) -> np.ndarray:
        """Return every patch that the basis multiplies, one per row."""
        ndim = len(self.kernel_size) + 2
        if inputs.ndim != ndim:
            raise ValueError(
                f"The inputs of {self.name!r} must have {ndim} axes (batch, space, channels). "
                f"Received: a batch of shape {inputs.shape}"
            )
        first = self._convolution(self._reading.basis, self.rank, name=self.name)
        return cast(np.ndarray, stock_kind(self.stock_class).rows(first, inputs))

    def samples_at_once(self, inputs: np.ndarray) -> int:
        """Return how many images have patches that fit in 64 MiB."""
        # Each entry is in as many patches as a kernel has taps.
        window = self._reading.basis
        taps = math.prod(window.kernel_size) / math.prod(window.strides)
        return max(1, int(_PATCH_ENTRIES / (max(1.0, taps) * inputs[0].size)))

    def uses(
        self, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> tuple[float, float]:
        """Return the number of positions of the first and of the second convolution."""
        basis, outputs = self._positions(self._sizes(input_shape))
        return input_shape[0] * basis, input_shape[0] * outputs

    def basis_uses(self, input_shape: Any) -> float:
        """Return the number of positions of the first convolution for each of the second.

        Where sizes are not known, it is the limit for large inputs.
        """
        sizes = self._sizes(input_shape)
        if rows_of(sizes) is None:
            return float(math.prod(self._reading.learner.strides))
        basis, outputs = self._positions(sizes)
        return basis / max(outputs, 1)

    def is_factored(self, inputs: Any) -> bool:
        """Return whether two convolutions are cheaper for the sizes of these inputs."""
        spread = self.basis_uses(inputs.shape)
        return factored_is_cheaper(
            None, self.in_dim, self.rank, self.learner.shape[1], spread=spread
        )

    def apply_basis(self, inputs: Any) -> Any:
        """Return the convolution with the basis, to `rank` channels."""
        shape = (self._channels, self.rank)
        return self._apply_factor(self._reading.basis, inputs, self.basis, shape)

    def apply_learner(self, projections: Any) -> Any:
        """Return the convolution with the learner, to `filters` channels."""
        shape = (self.rank, self.filters)
        return self._apply_factor(self._reading.learner, projections, self.learner, shape)

    def apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution with a kernel `(*kernel_size, channels, n)`."""
        return self._convolve(inputs, kernel, self._window)

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
        return self._built(self._convolution(self._window, self.filters, **kwargs), self._channels)

    def make_basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built convolution with `rank` filters."""
        return self._built(self._factor(self._reading.basis, self.rank, **kwargs), self._channels)

    def make_learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built convolution from `rank` channels to `filters`."""
        return self._built(self._factor(self._reading.learner, self.filters, **kwargs), self.rank)

    @classmethod
    def arguments_from_stock(cls, layer: Any, use_bias: bool) -> dict[str, Any]:
        """Return the arguments for the place of a convolution."""
        return {
            **super().arguments_from_stock(layer, use_bias),
            "filters": layer.filters,
            "kernel_size": layer.kernel_size,
            "strides": layer.strides,
            "padding": layer.padding,
            "data_format": layer.data_format,
            "dilation_rate": layer.dilation_rate,
        }

    @classmethod
    def why_not_from_stock(cls, layer: Any) -> str | None:
        """Return a reason for convolutions in groups, too."""
        if layer.groups > 1:
            return f"its channels are in {layer.groups} groups"
        return super().why_not_from_stock(layer)

    @property
    def _channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" else 1

    @property
    def _channels(self) -> int:
        return self.in_dim // math.prod(self._reading.grid)

    def _sizes(self, input_shape: Any) -> tuple[int, ...]:
        last = self.data_format == "channels_last"
        return tuple(input_shape[1:-1] if last else input_shape[2:])

    def _positions(self, sizes: tuple[int, ...]) -> tuple[int, int]:
        window = self._reading.basis
        return window.positions(sizes, self.padding), self._window.positions(sizes, self.padding)

    def _apply_factor(self, window: Window, inputs: Any, matrix: Any, shape: Any) -> Any:
        if window.is_pointwise and self.data_format == "channels_last":
            return ops.matmul(inputs, matrix)
        kernel = self._reading.axes.from_matrix(matrix, (*window.kernel_size, *shape), ops)
        return self._convolve(inputs, kernel, window)

    def _convolve(self, inputs: Any, kernel: Any, window: Window) -> Any:
        padding = self.padding
        if padding == "causal":
            # Only in one dimension, and `ops.conv` does not know it.
            left = (window.kernel_size[0] - 1) * window.dilation_rate[0]
            pads = [(0, 0)] * 3
            pads[1 if self.data_format == "channels_last" else 2] = (left, 0)
            inputs, padding = ops.pad(inputs, pads), "valid"
        return conv(
            inputs,
            kernel,
            strides=list(window.strides),
            padding=padding,
            data_format=self.data_format,
            dilation_rate=list(window.dilation_rate),
        )

    def _factor(self, window: Window, filters: int, **kwargs: Any) -> Any:
        # Nothing to pad there, and runtimes keep a padding of zero as an operation.
        padding = "valid" if window.is_pointwise else self.padding
        return self._convolution(window, filters, padding=padding, **kwargs)

    def _convolution(self, window: Window, filters: int, **kwargs: Any) -> Any:
        arguments = {"padding": self.padding, "data_format": self.data_format, **kwargs}
        return self.stock_class(filters, **dataclasses.asdict(window), **arguments)

    def _built(self, layer: Any, channels: int) -> keras.layers.Layer:
        # Large enough for any kernel; the weights do not depend on the spatial sizes.
        space = [1 + (k - 1) * d for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        last = self.data_format == "channels_last"
        layer.build((None, *space, channels) if last else (None, channels, *space))
        return layer
