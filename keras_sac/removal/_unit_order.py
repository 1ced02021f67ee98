"""Put the units of each group into the order in which they go."""

import functools
import itertools
import math

import keras
import numpy as np

from keras_sac._run import Progress
from keras_sac.calibration import Calibration, LinearFit, ObservedKernel
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._greedy_elimination import Reader, eliminate
from keras_sac.removal._unit_groups import UnitGroup


def order_units(
    groups: list[UnitGroup],
    graph: DependencyGraph,
    calibration: Calibration,
    selection: str,
    seed: int | None,
    *,
    progress: bool,
) -> None:
    """Put the units of each group into the order in which they go.

    Args:
        groups: changed in place.
        graph: of their units.
        calibration: of the model.
        selection: as for `remove_units`.
        seed: of a random order.
        progress: whether a bar is shown.
    """
    rng = np.random.default_rng(seed)
    readers = _Readers(graph, calibration)
    bar = Progress(len(groups), enabled=progress)
    for group in groups:
        bar.step()
        count, rises = len(group.units), np.zeros(len(group.units))
        if not count:
            continue
        if selection == "reconstruction":
            order, rises = eliminate(readers.of(group), count)
        elif selection == "random":
            order = rng.permutation(count)
        else:
            sizes = _sizes(group, graph, selection)
            if sizes is None:
                group.stay("no batch normalization scales its units")
                continue
            order = np.argsort(sizes, kind="stable")
        group.put(order, rises)
    bar.close()


class _Readers:
    """The kernels that read units, in units of the loss."""

    def __init__(self, graph: DependencyGraph, calibration: Calibration):
        self._graph, self._calibration = graph, calibration
        self._scaled: dict[str, list[np.ndarray]] = {}

    def of(self, group: UnitGroup) -> list[Reader]:
        """Return the kernels that read some of the units of a group."""
        found = []
        for kernel in self._calibration.kernels:
            weight = self._graph.weights.get(id(kernel.variable))
            rows = [] if weight is None else self._rows(kernel, weight.axes, group.units)
            if not any(len(each) for each in rows):
                continue
            fits = self._calibration.fits(kernel)
            if kernel.key not in self._scaled:
                self._scaled[kernel.key] = self._in_units_of_the_loss(kernel, fits)
            for fit, scaled in zip(fits, self._scaled[kernel.key], strict=True):
                inputs = fit.inputs.regularized()
                covariance = inputs.diagonal() if inputs.is_sketched else inputs.matrix
                found.append(Reader(covariance, scaled, rows))
        return found

    def _in_units_of_the_loss(
        self, kernel: ObservedKernel, fits: list[LinearFit]
    ) -> list[np.ndarray]:
        """Return `W G^1/2` of each group."""
        matrices, metric = kernel.matrices(), self._calibration.loss_metric(kernel)
        if metric is None:
            energy = sum(fit.energy for fit in fits) or 1.0
            return list(matrices * math.sqrt(2 * self._usual_loss / energy))
        parts = np.split(np.arange(kernel.units), len(fits))
        pairs = zip(matrices, parts, strict=True)
        return [matrix @ _root(metric[np.ix_(part, part)]) for matrix, part in pairs]

    def _rows(
        self, kernel: ObservedKernel, axes: dict[int, np.ndarray], units: np.ndarray
    ) -> list[np.ndarray]:
        """Return the inputs of a kernel that belong to each of some units."""
        place = np.full(self._graph.units.count, -1)
        place[units] = np.arange(len(units))
        belongs: list[list[np.ndarray]] = [[] for _ in units]
        for axis in kernel.axes.inputs:
            if axis not in axes:
                continue
            shape = [1] * len(kernel.variable.shape)
            shape[axis] = -1
            of = place[np.maximum(self._graph.roots(axes[axis]), 0)].reshape(shape)
            here = kernel.in_matrices(np.broadcast_to(of, kernel.variable.shape))[0, :, 0]
            rows = np.argsort(here, kind="stable")
            bounds = np.searchsorted(here[rows], np.arange(len(units) + 1))
            for unit, (a, b) in enumerate(itertools.pairwise(bounds)):
                belongs[unit].append(rows[a:b])
        return [np.unique(np.concatenate([np.zeros(0, int), *each])) for each in belongs]

    @functools.cached_property
    def _usual_loss(self) -> float:
        """The loss that stands for all outputs of a kernel whose gradients are not known."""
        known = [
            sum(fit.energy for fit in self._calibration.fits(kernel))
            * np.trace(metric)
            / (2 * len(metric))
            for kernel in self._calibration.kernels
            if (metric := self._calibration.loss_metric(kernel)) is not None
        ]
        return float(np.median(known)) if known else 1.0


def _root(metric: np.ndarray) -> np.ndarray:
    """Return `R` with `R Rᵀ = metric`, without directions that do not matter."""
    values, vectors = np.linalg.eigh(metric)
    kept = values > 1e-7 * values[-1]
    return vectors[:, kept] * np.sqrt(values[kept])


def _sizes(group: UnitGroup, graph: DependencyGraph, selection: str) -> np.ndarray | None:
    """Return the size of each unit of a group: of its kernels, or of its scales, if it has any."""
    place = np.full(graph.units.count, -1)
    place[group.units] = np.arange(len(group.units))
    sizes, known = np.zeros(len(group.units)), False
    makers = {id(layer) for layer in group.layers}
    for weight in graph.weights.values():
        scale = isinstance(weight.layer, keras.layers.BatchNormalization)
        if scale and weight.variable is not weight.layer.gamma:
            continue
        kernel = id(weight.layer) in makers and len(weight.variable.shape) > 1
        if scale if selection == "bn" else kernel:
            value = np.abs(keras.ops.convert_to_numpy(weight.variable.value)).astype(float)
            axis = max(weight.axes)
            summed = value.sum(axis=tuple(a for a in range(value.ndim) if a != axis))
            of = place[np.maximum(graph.roots(weight.axes[axis]), 0)]
            np.add.at(sizes, of[of >= 0], summed[of >= 0])
            known |= bool((of >= 0).any())
    return sizes if known else None
