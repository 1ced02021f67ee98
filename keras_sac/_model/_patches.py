"""Extract the patches that a convolution multiplies by its kernel."""

import math
from collections.abc import Sequence

import numpy as np

from keras_sac._model._layer_table import Choose


def extract_patches(
    inputs: np.ndarray,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation_rate: Sequence[int],
    padding: str,
    choose: Choose | None = None,
) -> np.ndarray:
    """Return every patch that a convolution sees, one in each row.

    The entries of a row are in the order of Keras' kernels, `(*kernel_size, channels)`, so that
    `rows @ kernel.reshape(-1, filters)` is the convolution.

    Args:
        inputs: shape `(batch, *spatial, channels)`.
        kernel_size: one size for each spatial axis.
        strides: one step for each spatial axis.
        dilation_rate: one spacing for each spatial axis.
        padding: `"valid"`, `"same"` or `"causal"`, with zeros, as Keras pads.
        choose: from the number of patches to the numbers of those that are wanted; all by default.

    Raises:
        ValueError: if the inputs are smaller than the kernel.

    Returns:
        Shape `(batch * positions, prod(kernel_size) * channels)`, or as many rows as are chosen;
        dtype of the inputs.
    """
    axes = tuple(range(1, inputs.ndim - 1))
    extents = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation_rate, strict=True)]
    pads = [
        _padding(inputs.shape[axis], extent, stride, padding)
        for axis, extent, stride in zip(axes, extents, strides, strict=True)
    ]
    if any(sum(pad) for pad in pads):
        inputs = np.pad(inputs, [(0, 0), *pads, (0, 0)])
    too_small = [n < e for n, e in zip(inputs.shape[1:-1], extents, strict=True)]
    if any(too_small):
        raise ValueError(
            f"Inputs with the spatial sizes {inputs.shape[1:-1]} (padding included) are smaller "
            f"than the kernel, which covers {tuple(extents)}. Use a smaller kernel, or "
            'padding="same".'
        )
    windows = np.lib.stride_tricks.sliding_window_view(inputs, extents, axis=axes)
    steps = tuple(slice(None, None, s) for s in strides)
    gaps = tuple(slice(None, None, d) for d in dilation_rate)
    windows = windows[(slice(None), *steps, slice(None), *gaps)]
    # (batch, *positions, channels, *kernel) -> (batch, *positions, *kernel, channels)
    windows = np.moveaxis(windows, 1 + len(axes), -1)
    if choose is not None:
        places = windows.shape[: 1 + len(axes)]
        windows = windows[np.unravel_index(choose(math.prod(places)), places)]
    return windows.reshape(-1, int(np.prod(kernel_size)) * inputs.shape[-1])


def _padding(size: int, extent: int, stride: int, padding: str) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return extent - 1, 0
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2
