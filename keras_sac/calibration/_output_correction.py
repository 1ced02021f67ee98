"""Add a constant to the outputs of a layer: in its bias, or in the batch normalization after it."""

from typing import Any

import keras
import numpy as np

from keras_sac.calibration._observed_kernels import ObservedKernel


class OutputCorrection:
    """Where a constant for each output of a changed layer is added.

    To the bias of the layer if it has one for each output. Otherwise the moving mean of the batch
    normalization after it is reduced by the constant, which is the same. Otherwise nowhere.

    Args:
        kernel: of the original model.
        layer: in its place in a copy.
        places: the layers of the copy by path.
    """

    def __init__(
        self, kernel: ObservedKernel, layer: keras.layers.Layer, places: dict[str, Any]
    ):
        self._bias: Any = None
        self._norm: Any = None
        if kernel.kind.unit_bias(kernel.layer, kernel.variable.name) is not None:
            self._bias = next(each for each in layer.weights if each.name == "bias")
        elif kernel.batch_norm is not None:
            norm = places[kernel.batch_norm]
            if norm.moving_mean.shape == (kernel.units,):
                self._norm = norm

    @property
    def possible(self) -> bool:
        """Whether there is a place for the constant."""
        return self._bias is not None or self._norm is not None

    def add(self, constant: np.ndarray) -> None:
        """Add a constant of shape `(units,)`; nothing happens where there is no place for it."""
        if self._bias is not None:
            value = keras.ops.convert_to_numpy(self._bias).astype(np.float64)
            self._bias.assign(value + constant.reshape(value.shape))
        elif self._norm is not None:
            value = keras.ops.convert_to_numpy(self._norm.moving_mean).astype(np.float64)
            self._norm.moving_mean.assign(value - constant)
