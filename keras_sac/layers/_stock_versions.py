"""Convert a SAC layer to stock Keras layers: one with the kernel, or two with the factors."""

import keras
import numpy as np
from keras import ops

from keras_sac._model import LayerKind, kind_of


def stock_kind(stock_class: type) -> LayerKind:
    """Return the entry of a stock layer class in the table of layer classes.

    Raises:
        ValueError: if the class has none.
    """
    kind = kind_of(stock_class)
    if kind is None:
        raise ValueError(
            "`stock_class` must be in the table of layer classes. Received: "
            f"{stock_class.__name__}. Add it with `keras_sac.register_layer`."
        )
    return kind


def merged_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the built stock layer with the kernel `basis @ learner` and the mean in its bias."""
    basis = layer.get_basis()
    learner = ops.convert_to_numpy(layer.learner).astype(np.float64)
    # In float64: merging must not add more than the rounding of the result.
    matrix = basis.matrix.astype(np.float64) @ learner
    has_bias = layer.use_bias or layer.center
    of_bias = {}
    if layer.use_bias:
        of_bias["bias_regularizer"] = layer.bias_regularizer
        of_bias["bias_constraint"] = layer.bias_constraint
    stock = layer.make_stock_layer(
        use_bias=has_bias,
        activity_regularizer=layer.activity_regularizer,
        **of_bias,
        activation=layer.activation,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    weights = [layer.kernel_axes().from_matrix(matrix, layer.kernel_shape())]
    if has_bias:
        bias = np.zeros(()) if layer.bias is None else ops.convert_to_numpy(layer.bias)
        if basis.mean is not None:
            bias = bias - layer.as_bias(basis.mean.astype(np.float64) @ matrix)
        weights.append(bias)
    stock.set_weights(weights)
    stock.trainable = layer.trainable
    return stock


def factor_layers(layer: keras.layers.Layer) -> keras.Sequential:
    """Return a stock layer with the basis and one with the learner, one after the other."""
    basis = layer.get_basis()
    first = layer.make_basis_layer(
        use_bias=layer.center,
        name=f"{layer.name}_basis",
        trainable=False,
        dtype=layer.dtype_policy,
    )
    weights = [_kernel_of_factor(layer, first, basis.matrix)]
    if basis.mean is not None and layer.center:
        shift = basis.mean.astype(np.float64) @ basis.matrix.astype(np.float64)
        weights.append(-shift.reshape(first.bias.shape))
    first.set_weights(weights)
    second = layer.make_learner_layer(
        use_bias=layer.use_bias,
        activation=layer.activation,
        activity_regularizer=layer.activity_regularizer,
        name=f"{layer.name}_learner",
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )
    weights = [_kernel_of_factor(layer, second, ops.convert_to_numpy(layer.learner))]
    if layer.bias is not None:
        weights.append(ops.convert_to_numpy(layer.bias))
    second.set_weights(weights)
    return keras.Sequential([first, second], name=layer.name)


def _kernel_of_factor(
    layer: keras.layers.Layer, factor: keras.layers.Layer, matrix: np.ndarray
) -> np.ndarray:
    return layer.kernel_axes(factor).from_matrix(matrix, tuple(factor.kernel.shape))
