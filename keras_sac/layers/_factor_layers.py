"""From a SAC layer to the two stock layers that are its two products."""

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    from keras_sac.layers._subspace_layer import SubspaceLayer


def factor_layers(layer: "SubspaceLayer") -> keras.Sequential:
    """Return a stock layer with the basis and one with the learner, one after the other."""
    basis = layer.get_basis()
    shared = {"dtype": layer.dtype_policy}
    first = layer._basis_layer(
        use_bias=layer.center, name=f"{layer.name}_basis", trainable=False, **shared
    )
    weights = [basis.matrix.reshape(first.kernel.shape)]
    if basis.mean is not None and layer.center:
        shift = basis.mean.astype(np.float64) @ basis.matrix.astype(np.float64)
        weights.append(-shift.reshape(first.bias.shape))
    first.set_weights(weights)
    second = layer._learner_layer(
        use_bias=layer.use_bias,
        activation=layer.activation,
        activity_regularizer=layer.activity_regularizer,
        name=f"{layer.name}_learner",
        trainable=layer.trainable,
        **shared,
    )
    weights = [ops.convert_to_numpy(layer.learner).reshape(second.kernel.shape)]
    if layer.bias is not None:
        weights.append(ops.convert_to_numpy(layer.bias))
    second.set_weights(weights)
    return keras.Sequential([first, second], name=layer.name)
