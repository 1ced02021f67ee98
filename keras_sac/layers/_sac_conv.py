"""`SACConv1D/2D/3D`: convolutions with fixed basis filters and a trained 1x1 learner."""

from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from keras_sac.layers._cost import factored_is_cheaper
from keras_sac.layers._patches import extract_patches
from keras_sac.layers._subspace_layer import SubspaceLayer


class SACConv(SubspaceLayer):
    """What the three convolutions share; the subclasses fix the number of spatial axes."""

    _stock: ClassVar[type]
    # Patches overlap: a batch of images makes many times its own size of rows.
    _adapt_batch_size = 128

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
        return tuple(self._make_stock().compute_output_shape(tuple(input_shape)))

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
        images = np.moveaxis(inputs, self._channel_axis, -1)
        return extract_patches(
            images, self.kernel_size, self.strides, self.dilation_rate, self.padding
        )

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

    def _make_stock(self, **kwargs: Any) -> Any:
        return self._stock(
            self.filters,
            self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
            **kwargs,
        )

    def _stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        layer = self._make_stock(**kwargs)
        # Large enough for any kernel: the sizes of the space leave no trace in the weights.
        space = [1 + (k - 1) * d for k, d in zip(self.kernel_size, self.dilation_rate, strict=True)]
        channels = self._kernel_shape()[-2]
        last = self.data_format == "channels_last"
        layer.build((None, *space, channels) if last else (None, channels, *space))
        return layer


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv1D(SACConv):
    """1-D convolution with fixed basis filters and a trained 1x1 learner.

    `y = activation(conv(x, B) L + bias)`: the `rank` filters of `B` come from the data's patches
    and are not trained; `L (rank, filters)` is. A patch has `kernel_size * channels` entries.

    Args:
        filters: positive integer, number of output channels.
        kernel_size: length of a patch, an integer or a tuple of one.
        basis: a `Basis` or an array of shape `(kernel_size * channels, rank)`, or a kind, as in
            `SACDense`; a row's entries are in the order `(step, channel)`.
        rank: number of basis filters, at most `kernel_size * channels`.
        strides: step of the window.
        padding: `"valid"`, `"same"` or `"causal"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps.
        activation: as in `keras.layers.Conv1D`.
        use_bias: whether to add a trained bias.
        **kwargs: what `SACDense` takes besides (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, steps, channels)`, or `(batch, channels, steps)` with
        `"channels_first"`.
    Output shape: as `keras.layers.Conv1D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv1D`.

    Example:
    >>> import numpy as np
    >>> from keras_sac.layers import SACConv1D
    >>> x = np.random.default_rng(0).normal(size=(8, 16, 3)).astype("float32")
    >>> layer = SACConv1D(4, 5, "pca", rank=6, padding="causal")
    >>> layer.adapt(x)
    >>> tuple(layer(x).shape), tuple(layer.learner.shape)
    ((8, 16, 4), (6, 4))

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning".
    """

    _stock = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv2D(SACConv):
    """2-D convolution with fixed basis filters and a trained 1x1 learner.

    `y = activation(conv(x, B) L + bias)`: the `rank` filters of `B` come from the data's patches
    and are not trained; `L (rank, filters)` is. A patch has `height * width * channels` entries.

    Args:
        filters: positive integer, number of output channels.
        kernel_size: integer or tuple of two, `(height, width)` of a patch.
        basis: a `Basis` or an array of shape `(height * width * channels, rank)`, or a kind, as
            in `SACDense`; a row's entries are in the order `(row, column, channel)`.
        rank: number of basis filters, at most `height * width * channels`.
        strides: step of the window, an integer or a tuple of two.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps, an integer or a tuple of two.
        activation: as in `keras.layers.Conv2D`.
        use_bias: whether to add a trained bias.
        **kwargs: what `SACDense` takes besides (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `"channels_first"`.
    Output shape: as `keras.layers.Conv2D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv2D`.

    Example:
    >>> import numpy as np
    >>> from keras_sac.layers import SACConv2D
    >>> images = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype("float32")
    >>> layer = SACConv2D(16, 3, "pca", rank=8, padding="same", activation="relu")
    >>> layer.adapt(images)
    >>> tuple(layer(images).shape), type(layer.to_dense()).__name__
    ((8, 12, 12, 16), 'Conv2D')

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning".
    """

    _stock = keras.layers.Conv2D


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv3D(SACConv):
    """3-D convolution with fixed basis filters and a trained 1x1 learner.

    `y = activation(conv(x, B) L + bias)`: the `rank` filters of `B` come from the data's patches
    and are not trained; `L (rank, filters)` is. A patch has `prod(kernel_size) * channels` entries.

    Args:
        filters: positive integer, number of output channels.
        kernel_size: integer or tuple of three, the size of a patch.
        basis: a `Basis` or an array of shape `(prod(kernel_size) * channels, rank)`, or a kind, as
            in `SACDense`; a row's entries are in the order of the axes, the channel last.
        rank: number of basis filters, at most `prod(kernel_size) * channels`.
        strides: step of the window, an integer or a tuple of three.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps, an integer or a tuple of three.
        activation: as in `keras.layers.Conv3D`.
        use_bias: whether to add a trained bias.
        **kwargs: what `SACDense` takes besides (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, depth, height, width, channels)`, or with the channels second.
    Output shape: as `keras.layers.Conv3D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv3D`.

    Example:
    >>> import numpy as np
    >>> from keras_sac.layers import SACConv3D
    >>> x = np.random.default_rng(0).normal(size=(2, 6, 6, 6, 1)).astype("float32")
    >>> layer = SACConv3D(4, 3, "random", rank=9)
    >>> tuple(layer(x).shape)
    (2, 4, 4, 4, 4)

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning".
    """

    _stock = keras.layers.Conv3D
