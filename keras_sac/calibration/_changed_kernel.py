"""The place of an observed kernel in a changed copy of its model: fit it, and write it back."""

import math
from typing import Any

import keras
import numpy as np

from keras_sac._model import layer_paths
from keras_sac.calibration._calibration import Calibration
from keras_sac.calibration._kernel_part import KernelPart
from keras_sac.calibration._linear_fit import LinearFit
from keras_sac.calibration._observed_kernels import ObservedKernel


class ChangedKernel:
    """A kernel of a copy, with the place where a constant for each of its outputs goes.

    The constant goes to the bias of the layer if it has one for each output. Otherwise the moving
    mean of the batch normalization after it is reduced by the constant, which is the same.
    Otherwise there is no place, and fits count means as errors.

    Args:
        kernel: of the original model.
        model: the copy; its layer at the same path holds the kernel, or is a SAC layer.
        part: of the kernel, if that layer is narrower.
    """

    def __init__(self, kernel: ObservedKernel, model: keras.Model, part: KernelPart | None = None):
        places: dict[str, Any] = layer_paths(model)
        self._kernel, self._model, self._part = kernel, model, part
        self.layer = places[kernel.path]
        self._bias: Any = None
        self._norm: Any = None
        name = kernel.variable.name
        if kernel.kind.unit_bias(kernel.layer, name) is not None:
            copied = type(self.layer) is type(kernel.layer)
            self._bias = kernel.kind.unit_bias(self.layer, name) if copied else self.layer.bias
        elif kernel.batch_norm is not None:
            norm = places[kernel.batch_norm]
            units = kernel.units if part is None else part.units
            self._norm = norm if norm.moving_mean.shape == (units,) else None

    def fits(self, calibration: Calibration, *, sequential: bool) -> list[LinearFit]:
        """Return the fit of the original outputs, for each group.

        Args:
            calibration: of the original model.
            sequential: on the inputs that the copy gives the layer, else on the original ones; a
                narrower layer has only the former.
        """
        centered = self._bias is not None or self._norm is not None
        if sequential or self._part is not None:
            return calibration.refits(
                self._kernel, self._model, self.layer, centered=centered, part=self._part
            )
        return calibration.fits(self._kernel, centered=centered)

    def assign(self, matrices: np.ndarray, fits: list[LinearFit]) -> None:
        """Write matrices `(groups, in_dim, units)` to the kernel, and their best bias."""
        name = self._kernel.variable.name
        variable = next(each for each in self.layer.weights if each.name == name)
        variable.assign(self._kernel.from_matrices(matrices, tuple(variable.shape)))
        self.correct(matrices, fits)

    def correct(self, matrices: np.ndarray, fits: list[LinearFit]) -> None:
        """Add the best bias of matrices that the layer multiplies by already."""
        pairs = zip(fits, matrices, strict=True)
        constant = np.concatenate([fit.bias(matrix) for fit, matrix in pairs])
        if self._bias is not None:
            value = keras.ops.convert_to_numpy(self._bias).astype(np.float64)
            self._bias.assign(value + constant.reshape(value.shape))
        elif self._norm is not None:
            value = keras.ops.convert_to_numpy(self._norm.moving_mean).astype(np.float64)
            self._norm.moving_mean.assign(value - constant)


def relative_error(matrices: np.ndarray, fits: list[LinearFit]) -> float:
    """Return the error of kernels as a fraction of the variance of the outputs of all groups."""
    energy = sum(fit.energy for fit in fits)
    lost = sum(fit.error(matrix) for fit, matrix in zip(fits, matrices, strict=True))
    return lost / energy if energy > 0 else 0.0


def predicted_loss(
    kernel: ObservedKernel, matrices: np.ndarray, fits: list[LinearFit], calibration: Calibration
) -> float:
    """Return by how much kernels raise the loss, `tr(G E) / 2`; NaN without gradients."""
    metric = calibration.loss_metric(kernel)
    if metric is None:
        return math.nan
    units = len(metric) // len(fits)
    parts = [slice(group * units, (group + 1) * units) for group in range(len(fits))]
    groups = zip(fits, matrices, parts, strict=True)
    return sum(fit.error(matrix, metric[part, part]) for fit, matrix, part in groups) / 2
