"""`SACConv1D`, `SACConv2D` and `SACConv3D`: convolutions inside a fixed subspace."""

import keras

from keras_sac.layers._conv_layer import SACConv


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv1D(SACConv):
    """1-D convolution with fixed basis filters and a trained learner.

    `y = activation(conv(conv(x, B), L) + bias)`: the `rank` filters of `B` are computed from
    patches of the data and not trained; `L` is trained. `reading` divides the kernel into the two:

    | `reading` | `B` | `L` |
    | --- | --- | --- |
    | `"patches"` | size `k`: `(k * channels, rank)` | size 1: `(rank, filters)` |
    | `"channels"` | size 1: `(channels, rank)` | size `k`: `(rank, k * filters)` |

    Args:
        filters: positive integer, number of output channels.
        kernel_size: length of a patch, an integer or a tuple of one.
        basis: a `Basis` or an array of the shape of `B`, or a kind, as in `SACDense`. Its rows are
            in the order `(step, channel)`, the columns of `L` in the order `(step, filter)`.
        rank: number of basis filters, at most as many as `B` has rows.
        reading: `"patches"` or `"channels"`. `center=True` needs `"patches"`.
        strides: step of the window.
        padding: `"valid"`, `"same"` or `"causal"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps.
        activation: as in `keras.layers.Conv1D`.
        use_bias: whether to add a trained bias.
        **kwargs: other arguments of `SACDense` (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, steps, channels)`, or `(batch, channels, steps)` with
        `"channels_first"`.
    Output shape: as `keras.layers.Conv1D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv1D`.

    Examples:
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

    stock_class = keras.layers.Conv1D


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv2D(SACConv):
    """2-D convolution with fixed basis filters and a trained learner.

    `y = activation(conv(conv(x, B), L) + bias)`: the `rank` filters of `B` are computed from
    patches of the data and not trained; `L` is trained. `reading` divides a kernel of size
    `(h, w)` into the two:

    | `reading` | `B` | `L` |
    | --- | --- | --- |
    | `"patches"` | `h x w`: `(h * w * channels, rank)` | `1 x 1`: `(rank, filters)` |
    | `"channels"` | `1 x 1`: `(channels, rank)` | `h x w`: `(rank, h * w * filters)` |
    | `"spatial"` | `h x 1`: `(h * channels, rank)` | `1 x w`: `(rank, w * filters)` |

    Args:
        filters: positive integer, number of output channels.
        kernel_size: integer or tuple of two, `(height, width)` of a patch.
        basis: a `Basis` or an array of the shape of `B`, or a kind, as in `SACDense`. Its rows are
            in the order `(row, column, channel)`, the columns of `L` in the order
            `(row, column, filter)`.
        rank: number of basis filters, at most as many as `B` has rows.
        reading: `"patches"`, `"channels"` or `"spatial"`. `center=True` needs `"patches"`.
        strides: step of the window, an integer or a tuple of two.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps, an integer or a tuple of two.
        activation: as in `keras.layers.Conv2D`.
        use_bias: whether to add a trained bias.
        **kwargs: other arguments of `SACDense` (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `"channels_first"`.
    Output shape: as `keras.layers.Conv2D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv2D`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.layers import SACConv2D
        >>> images = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype("float32")
        >>> layer = SACConv2D(16, 3, "pca", rank=8, padding="same", activation="relu")
        >>> layer.adapt(images)
        >>> tuple(layer(images).shape), type(layer.to_dense()).__name__
        ((8, 12, 12, 16), 'Conv2D')
        >>> spatial = SACConv2D(16, 3, "pca", rank=8, reading="spatial", padding="same")
        >>> spatial.adapt(images)
        >>> tuple(spatial.basis.shape), tuple(spatial.learner.shape)
        ((9, 8), (8, 48))

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning"; Jaderberg et al., 2014,
        "Speeding up Convolutional Neural Networks with Low Rank Expansions", for `"spatial"`.
    """

    stock_class = keras.layers.Conv2D


@keras.saving.register_keras_serializable(package="keras_sac")
class SACConv3D(SACConv):
    """3-D convolution with fixed basis filters and a trained learner.

    `y = activation(conv(conv(x, B), L) + bias)`: the `rank` filters of `B` are computed from
    patches of the data and not trained; `L` is trained. `reading` divides a kernel of size
    `(d, h, w)` into the two:

    | `reading` | `B` | `L` |
    | --- | --- | --- |
    | `"patches"` | `d x h x w`: `(d * h * w * channels, rank)` | size 1: `(rank, filters)` |
    | `"channels"` | size 1: `(channels, rank)` | `d x h x w`: `(rank, d * h * w * filters)` |
    | `"spatial"` | `d x 1 x 1`: `(d * channels, rank)` | `1 x h x w`: `(rank, h * w * filters)` |

    Args:
        filters: positive integer, number of output channels.
        kernel_size: integer or tuple of three, the size of a patch.
        basis: a `Basis` or an array of the shape of `B`, or a kind, as in `SACDense`. Its rows are
            in the order of the axes, the channel last; so are the columns of `L`, the filter last.
        rank: number of basis filters, at most as many as `B` has rows.
        reading: `"patches"`, `"channels"` or `"spatial"`. `center=True` needs `"patches"`.
        strides: step of the window, an integer or a tuple of three.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"` or `"channels_first"`.
        dilation_rate: spacing of the taps, an integer or a tuple of three.
        activation: as in `keras.layers.Conv3D`.
        use_bias: whether to add a trained bias.
        **kwargs: other arguments of `SACDense` (`center`, `learner_initializer`, `name`, ...).

    Input shape: `(batch, depth, height, width, channels)`, or with the channels second.
    Output shape: as `keras.layers.Conv3D`.

    Raises:
        ValueError: as `SACDense` and `keras.layers.Conv3D`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.layers import SACConv3D
        >>> x = np.random.default_rng(0).normal(size=(2, 6, 6, 6, 1)).astype("float32")
        >>> layer = SACConv3D(4, 3, "random", rank=9)
        >>> tuple(layer(x).shape)
        (2, 4, 4, 4, 4)

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning".
    """

    stock_class = keras.layers.Conv3D
