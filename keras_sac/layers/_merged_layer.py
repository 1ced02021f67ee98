"""From a SAC layer to the one stock layer with the same outputs."""

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    from keras_sac.layers._subspace_layer import SubspaceLayer


def merged_layer(layer: "SubspaceLayer") -> keras.layers.Layer:
    """Return the built stock layer with the kernel `basis @ learner`, the mean in its bias."""
    basis = layer.get_basis()
    learner = ops.convert_to_numpy(layer.learner).astype(np.float64)
    # In float64: merging once must not cost more than the rounding of the result.
    kernel = basis.matrix.astype(np.float64) @ learner
    weights = [layer._shape_kernel(np, kernel)]
    has_bias = layer.use_bias or layer.center
    if has_bias:
        bias = np.zeros(()) if layer.bias is None else ops.convert_to_numpy(layer.bias)
        if basis.mean is not None:
            bias = bias - layer._as_bias(basis.mean.astype(np.float64) @ kernel)
        weights.append(bias)
    of_bias = {}
    if layer.use_bias:
        of_bias["bias_regularizer"] = layer.bias_regularizer
        of_bias["bias_constraint"] = layer.bias_constraint
    stock = layer._stock_layer(
        use_bias=has_bias,
        activity_regularizer=layer.activity_regularizer,
        **of_bias,
        activation=layer.activation,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    stock.set_weights(weights)
    stock.trainable = layer.trainable
    return stock
