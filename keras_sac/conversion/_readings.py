"""Readings of a kernel as a matrix that factors, and what the factors cost."""

import dataclasses
import math

import keras
import numpy as np

from keras_sac._model import KernelAxes
from keras_sac.calibration import ObservedKernel
from keras_sac.layers import READINGS, ConvReading, Window

# Multiplications that count for a value between the factors: a compromise of the engines and shapes
# that `benchmarks/bench_compression.py` measures.
_WORK_OF_VALUE = 64
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


@dataclasses.dataclass(frozen=True)
class Reading:
    """A kernel as a matrix `(rows, columns)` that is factored into basis and learner.

    Attributes:
        name: `"patches"` (all inputs to the rank, then to the outputs; the only one for layers
            that are no convolutions), `"channels"` or `"spatial"`, as in `SACConv2D`.
        axes: of the kernel: those of the rows, and those of the columns.
        shape: of the kernel.
        basis_uses: how often a forward pass of one sample multiplies by the basis.
        learner_uses: how often it multiplies by the learner.
    """

    name: str
    axes: KernelAxes
    shape: tuple[int, ...]
    basis_uses: float
    learner_uses: float

    @property
    def rows(self) -> int:
        """Number of rows of the basis."""
        return math.prod(self.shape[axis] for axis in self.axes.inputs)

    @property
    def columns(self) -> int:
        """Number of columns of the learner."""
        return math.prod(self.shape[axis] for axis in self.axes.outputs)

    @property
    def full_rank(self) -> int:
        """The rank at which nothing is lost."""
        return min(self.rows, self.columns)

    def parameters(self, rank: int) -> int:
        """Return the number of entries of basis and learner."""
        return rank * (self.rows + self.columns)

    def macs(self, rank: int) -> float:
        """Return the multiplications of a forward pass of one sample."""
        return rank * (self.rows * self.basis_uses + self.columns * self.learner_uses)

    def work(self, rank: int, round_to: int) -> float:
        """Return the time of a forward pass of one sample, in multiplications.

        The values between the factors take time, too, and ranks between the multiples of `round_to`
        take that of the next one.
        """
        padded = -(-rank // round_to) * round_to
        return self.macs(padded) + _WORK_OF_VALUE * padded * self.basis_uses


def readings(kernel: ObservedKernel) -> list[Reading]:
    """Return the readings of the kernel of a layer that a SAC layer can replace."""
    shape, uses, layer = tuple(kernel.variable.shape), kernel.uses, kernel.layer
    if not isinstance(layer, _CONVOLUTIONS) or math.prod(layer.kernel_size) == 1:
        return [Reading("patches", kernel.axes, shape, uses, uses)]
    last = layer.data_format == "channels_last"
    sizes = kernel.input_shape[1:-1] if last else kernel.input_shape[2:]
    found = []
    for name in READINGS[: len(sizes) + 1]:  # one axis cannot be split
        parts = ConvReading.of(name, Window(layer.kernel_size, layer.strides, layer.dilation_rate))
        positions = kernel.calls * parts.basis.positions(sizes, layer.padding)
        found.append(Reading(name, parts.axes, shape, positions, uses))
    return found


def block_order(reading: Reading, axes: KernelAxes) -> np.ndarray:
    """Return the inputs of a kernel in the order of blocks, then rows of the basis."""
    sizes = [reading.shape[axis] for axis in axes.inputs]
    grid = np.arange(math.prod(sizes)).reshape(sizes)
    blocks = [axes.inputs.index(a) for a in axes.inputs if a not in reading.axes.inputs]
    rows = [axes.inputs.index(a) for a in reading.axes.inputs]
    return np.transpose(grid, [*blocks, *rows]).reshape(-1)
