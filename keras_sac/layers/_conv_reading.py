"""How the kernel of a convolution is read as a matrix, and as two convolutions in a row."""

import dataclasses
import math

from keras_sac._arguments import one_of
from keras_sac._model import KernelAxes

READINGS = ("patches", "channels", "spatial")


@dataclasses.dataclass(frozen=True)
class Window:
    """Size, strides and dilation of a convolution; one number of each for a spatial axis."""

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation_rate: tuple[int, ...]

    @property
    def is_pointwise(self) -> bool:
        """Whether the convolution multiplies the channels at every position by a matrix."""
        return {*self.kernel_size, *self.strides} == {1}

    def positions(self, sizes: tuple[int, ...], padding: str) -> int:
        """Return at how many positions of an input with these spatial sizes the kernel is used."""
        return math.prod(
            # "same" and "causal" pad until the window fits at each step.
            (n - (k - 1) * d - 1 if padding == "valid" else n - 1) // s + 1
            for n, k, s, d in zip(
                sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True
            )
        )

    def along(self, axes: range) -> "Window":
        """Return the window along some axes, of size 1 along the others."""
        return Window(
            *(
                tuple(n if axis in axes else 1 for axis, n in enumerate(sizes))
                for sizes in dataclasses.astuple(self)
            )
        )


@dataclasses.dataclass(frozen=True)
class ConvReading:
    """A convolution as two: `kernel (*kernel_size, channels, filters) = basis @ learner`.

    The basis convolves along the leading spatial axes, from the channels to `rank` channels; the
    learner along the other axes, from `rank` channels to the filters. Nothing stands between them,
    so zeros that pad the inputs of one convolution pad those of the two.

    | reading | spatial axes of the basis | basis, learner in 2-D |
    | --- | --- | --- |
    | `"patches"` | all | `k x k`, `1 x 1` |
    | `"channels"` | none | `1 x 1`, `k x k` |
    | `"spatial"` | the first | `k x 1`, `1 x k` |

    Attributes:
        axes: of the kernel, and likewise of the kernels of both convolutions.
        grid: sizes of the kernel along the basis' axes.
        basis: the window of the first convolution.
        learner: the window of the second.
    """

    axes: KernelAxes
    grid: tuple[int, ...]
    basis: Window
    learner: Window

    @classmethod
    def of(cls, reading: str, whole: Window) -> "ConvReading":
        """Return a reading of the convolution with the window `whole`.

        Raises:
            ValueError: if there is no such reading, or not in one dimension.
        """
        one_of("reading", reading, READINGS)
        ndim = len(whole.kernel_size)
        if reading == "spatial" and ndim == 1:
            raise ValueError(
                "`reading` must be 'patches' or 'channels' in one dimension: a kernel with a "
                "single spatial axis has no second one to leave to the learner. Received: "
                "reading='spatial'"
            )
        count = {"patches": ndim, "channels": 0, "spatial": 1}[reading]
        first, others = range(count), range(count, ndim)
        axes = KernelAxes((*first, ndim), (*others, ndim + 1))
        return cls(axes, whole.kernel_size[:count], whole.along(first), whole.along(others))
