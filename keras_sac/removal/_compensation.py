"""Fit what is left of each kernel to the outputs that the original model made."""

import keras
import numpy as np

from keras_sac._run import Progress
from keras_sac.calibration import (
    Calibration,
    ChangedKernel,
    KernelPart,
    ObservedKernel,
    relative_error,
)
from keras_sac.removal._dependency_graph import DependencyGraph


def kernel_parts(
    calibration: Calibration, graph: DependencyGraph, removed: np.ndarray
) -> dict[str, KernelPart]:
    """Return what is left of each kernel that loses units, by the key of the kernel."""
    parts = {}
    for kernel in calibration.kernels:
        weight = graph.weights.get(id(kernel.variable))
        if weight is None:
            continue
        inputs, outputs = (np.zeros(kernel.variable.shape, bool) for _ in range(2))
        for axis, units in weight.axes.items():
            shape = [1] * inputs.ndim
            shape[axis] = -1
            marked = np.isin(graph.roots(units), removed).reshape(shape)
            side = inputs if axis in kernel.axes.inputs else outputs
            side |= marked
        if inputs.any() or outputs.any():
            parts[kernel.key] = KernelPart(
                ~kernel.in_matrices(inputs)[0].any(axis=1),
                np.logical_not(kernel.in_matrices(outputs).any(axis=1)),
            )
    return parts


def refit(
    work: keras.Model, calibration: Calibration, parts: dict[str, KernelPart], *, progress: bool
) -> dict[str, float]:
    """Fit the kernels of a smaller copy in the order of their calls, to the original outputs.

    Args:
        work: the copy; changed in place.
        calibration: of the original model.
        parts: what is left of kernels that have lost units.
        progress: whether a bar is shown.

    Returns:
        The fraction of the variance of its outputs that each fitted kernel loses.
    """
    measured: dict[str, float] = {}
    bar = Progress(len(calibration.kernels), enabled=progress)
    for kernel in calibration.kernels:
        bar.step()
        part = parts.get(kernel.key)
        # What comes before it is unchanged, and its inputs are all there.
        if not measured and (part is None or part.inputs.all()):
            continue
        measured[kernel.key] = _fit(kernel, work, calibration, part)
    bar.close()
    return measured


def _fit(
    kernel: ObservedKernel,
    work: keras.Model,
    calibration: Calibration,
    part: KernelPart | None,
) -> float:
    place, originals = ChangedKernel(kernel, work, part), kernel.matrices()
    if part is not None:
        originals = part.of(originals)
    fits = place.fits(calibration, sequential=True)
    regular = [fit.regularized(matrix) for fit, matrix in zip(fits, originals, strict=True)]
    made = np.stack([fit.solution() for fit in regular])
    place.assign(made, fits)
    return relative_error(made, fits)
