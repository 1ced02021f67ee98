"""Least squares of the outputs of a kernel on its inputs, from their moments."""

import numpy as np

from keras_sac.bases import Moments
from keras_sac.calibration._input_moments import RowSketch, Scatter


class LinearFit:
    """Moments of inputs `x` and of the outputs `y` that a kernel should make of them.

    A kernel `A` with the best bias has the expected error
    `E |y - Aᵀ x - b|^2 = tr(S_yy - 2 Aᵀ S_xy + Aᵀ S_xx A)`, with `b = E[y] - Aᵀ E[x]`.

    Attributes:
        inputs: `S_xx`, with the mean of the inputs.
        cross: `S_xy`, shape `(in_dim, units)`.
        outputs: `S_yy`, shape `(units, units)`.
        output_mean: `E[y]`, without the bias of the original layer.
    """

    def __init__(
        self,
        inputs: Scatter,
        cross: np.ndarray,
        outputs: np.ndarray,
        output_mean: np.ndarray,
        exact: np.ndarray | None = None,
    ):
        self.inputs, self.cross = inputs, cross
        self.outputs, self.output_mean = outputs, output_mean
        # The kernel that makes the outputs of these inputs, where there is one.
        self._exact = exact

    @classmethod
    def of_kernel(
        cls, source: Moments | RowSketch, kernel: np.ndarray, *, centered: bool = True
    ) -> "LinearFit":
        """Return the fit of the outputs that a kernel `(in_dim, units)` makes of the same rows.

        Not `centered` is for a layer that can have no bias: means are errors then.
        """
        inputs = Scatter(source, centered=centered)
        cross = inputs.times(kernel)
        outputs = kernel.T @ cross
        return cls(inputs, cross, (outputs + outputs.T) / 2, kernel.T @ inputs.mean, kernel)

    @classmethod
    def of_rows(
        cls, source: Moments | RowSketch, in_dim: int, *, centered: bool = True
    ) -> "LinearFit":
        """Return the fit from moments of rows that hold `x`, then `y`."""
        made = slice(in_dim, None)
        inputs = Scatter(source, slice(0, in_dim), centered=centered)
        outputs = Scatter(source, made, centered=centered)
        return cls(inputs, inputs.with_columns(made), outputs.matrix, outputs.mean)

    @property
    def energy(self) -> float:
        """Variance of the outputs, summed over the units."""
        return float(np.trace(self.outputs))

    def regularized(self, kernel: np.ndarray) -> "LinearFit":
        """Return the fit with a ridge that pulls towards a kernel `W`.

        `C + r I` in the place of `C` for the inputs, and the outputs that `W` makes of what is
        added: where the inputs are those that `W` has seen, `W` stays the solution without error.
        """
        inputs = self.inputs.regularized()
        cross = self.cross + inputs.added * kernel
        outputs = self.outputs + inputs.added * (kernel.T @ kernel)
        return LinearFit(inputs, cross, outputs, self.output_mean, self._exact)

    def solution(self) -> np.ndarray:
        """Return the kernel of least squares, `S_xx^-1 S_xy`, of a regularized fit."""
        return self.inputs.solve(self.cross) if self._exact is None else self._exact

    def error(self, kernel: np.ndarray, metric: np.ndarray | None = None) -> float:
        """Return the expected squared error of a kernel with the best bias.

        Args:
            kernel: shape `(in_dim, units)`.
            metric: weights of the errors, `(units, units)`; defaults to the identity.
        """
        product = self.inputs.times(kernel)
        error = self.outputs - kernel.T @ (2 * self.cross - product)
        value = np.trace(error) if metric is None else np.sum(metric * (error + error.T) / 2)
        return max(float(value), 0.0)

    def bias(self, kernel: np.ndarray) -> np.ndarray:
        """Return the best bias of a kernel, beyond that of the original layer."""
        return self.output_mean - kernel.T @ self.inputs.mean
