"""`remove_zero_filters`: take out the units that pruning has set to zero, without any change."""

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_sac._model import (
    check_graph,
    check_model,
    compile_like,
    layer_paths,
    noise,
    sample_for,
)
from keras_sac._table import table
from keras_sac.removal._channel_labels import along
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._layer_rules import LayerRule, rule_of
from keras_sac.removal._smaller_model import smaller_model
from keras_sac.removal._unit_groups import unit_groups

if TYPE_CHECKING:
    import pandas as pd

# Samples that show whether the outputs of a unit are constant.
_SAMPLES = 3
# Layers that compute with all of their channels, so that a zero is not the same as nothing.
_STATISTICS = (
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
)


def remove_zero_filters(
    model: keras.Model, sample: Any = None
) -> "tuple[keras.Model, pd.DataFrame]":
    """Return a narrower model without the units whose kernels are zero; its outputs are the same.

    Such units are what the pattern `Filters`, `prune_filters_by_norm` or a group penalty leaves.
    The outputs of one are constant: its bias, and what activations and normalizations make of it.
    If the layers that read them receive zeros, these are left out. Otherwise the constant times
    their kernel is added to their bias, where that is exact: for dense layers, and for convolutions
    without padding. What cannot be taken out exactly stays, with the reason.

    Args:
        model: built Functional or Sequential model, also with such models inside; not changed.
        sample: inputs, for models that leave sizes open; a few samples of any values.

    Returns:
        The smaller model, compiled as the original was, and a table with a row for each layer that
        makes units: how many there were, are zero, and are left, and why zeros were left alone.

    Raises:
        ValueError: if the model is no graph of layers, or its inputs are not known.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import remove_zero_filters
        >>> layers = [keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)]
        >>> model = keras.Sequential([keras.Input((3,)), *layers])
        >>> layers[0].set_weights([np.eye(3, 4), np.ones(4)])
        >>> small, report = remove_zero_filters(model)
        >>> x = np.ones((2, 3), "float32")
        >>> same = np.allclose(small.predict(x, verbose=0), model.predict(x, verbose=0))
        >>> small.layers[0].units, same
        (3, True)
    """
    check_model(model)
    check_graph(model, "remove_zero_filters", "Take filters out of the Functional parts of it.")
    given = noise(model, _SAMPLES) if sample is None else sample_for(model, sample)
    graph = DependencyGraph(model, keras.tree.flatten(given))
    zero = _zero_units(graph)
    reasons = {int(unit): _why_not_exact(graph, unit) for unit in zero}
    removed = np.array([unit for unit in zero if not reasons[int(unit)]], int)
    for group in unit_groups(graph):
        if len(removed) and np.isin(group.units, removed).sum() > group.largest:
            reasons[int(group.units[0])] = "it is the last unit of its layer"
            removed = removed[removed != group.units[0]]
    work = smaller_model(model, graph, removed)
    compile_like(work, model)
    places: dict[str, Any] = layer_paths(work)
    for path, layer in layer_paths(model).items():
        constant = _constant(graph, layer, removed)
        if constant is not None:
            bias = places[path].bias
            bias.assign(keras.ops.convert_to_numpy(bias) + constant)
    return work, _report(model, work, graph, zero, removed, reasons)


def _zero_units(graph: DependencyGraph) -> np.ndarray:
    """Return the sets of units of outputs that only kernels of zeros make."""
    made, alive = [np.zeros(0, int)], [np.zeros(1, int)]
    for weight in graph.weights.values():
        value = keras.ops.convert_to_numpy(weight.variable.value) != 0
        for axis in weight.makes:
            made.append(weight.axes[axis])
            rest = tuple(each for each in range(value.ndim) if each != axis)
            if rest:  # a bias keeps no unit alive
                alive.append(weight.axes[axis][value.any(axis=rest)])
    return np.setdiff1d(*(graph.roots(np.concatenate(each)) for each in (made, alive)))


def _why_not_exact(graph: DependencyGraph, unit: int) -> str:
    """Return what would change without a unit of zeros; an empty text if nothing would."""
    for weight in graph.weights.values():
        reads = any((graph.roots(each) == unit).any() for each in weight.axes.values())
        if reads and isinstance(weight.layer, _STATISTICS):
            return f"the statistics of {weight.layer.name!r} are over all channels"
    for layer, given, made in graph.calls:
        own = [made] if isinstance(layer, keras.layers.RNN) else []
        for tensor in (*given, *own):
            values = tensor.value[graph.roots(tensor.labels) == unit]
            if not np.any(values):
                continue
            if not _adds_constants(layer):
                return f"its constant outputs reach {layer.name!r}, which cannot take them over"
            if _constant_inputs(graph, layer, np.array([unit])) is None:
                return f"its outputs are not constant where they reach {layer.name!r}"
    return ""


def _adds_constants(layer: Any) -> bool:
    """Return whether a constant input of a layer is the same as a constant in its bias."""
    if isinstance(layer, keras.layers.Dense):
        return layer.use_bias
    if not isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D):
        return False
    # Padding is zero, so it is no constant of another value.
    padded = layer.padding != "valid" and math.prod(layer.kernel_size) > 1
    return layer.use_bias and layer.groups == 1 and not padded


def _constant_inputs(graph: DependencyGraph, layer: Any, units: np.ndarray) -> np.ndarray | None:
    """Return the constant of each channel that a layer receives; 0 where it is of another unit.

    `None` if some of the units are not constant.
    """
    found: np.ndarray | None = None
    for each, given, _ in graph.calls:
        if each is not layer:
            continue
        (tensor,) = given
        rule = rule_of(layer)
        assert isinstance(rule, LayerRule)  # it is one of the calls of the graph
        (axis,) = rule.input_axes(layer, tensor.value.ndim)
        rows = np.moveaxis(tensor.value, axis, -1).reshape(-1, tensor.value.shape[axis])
        labels = along(graph.roots(tensor.labels), axis)
        mine = np.zeros(rows.shape[1], bool) if labels is None else np.isin(labels, units)
        constant = np.where(mine, rows[0], 0.0)
        if found is not None and not np.array_equal(constant, found):
            return None
        if np.ptp(rows[:, mine], axis=0).max(initial=0.0) > 0:
            return None
        found = constant
    return found


def _constant(graph: DependencyGraph, layer: Any, removed: np.ndarray) -> np.ndarray | None:
    """Return what the bias of a layer takes over from units that go; `None` if nothing."""
    if not _adds_constants(layer):
        return None
    inputs = _constant_inputs(graph, layer, removed)
    if inputs is None or not inputs.any():
        return None
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    constant = inputs @ kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
    units = graph.roots(graph.weights[id(layer.bias)].axes[0])
    return constant[~np.isin(units, removed)]


def _report(
    model: keras.Model,
    work: keras.Model,
    graph: DependencyGraph,
    zero: np.ndarray,
    removed: np.ndarray,
    reasons: dict[int, str],
) -> "pd.DataFrame":
    paths = {id(layer): path for path, layer in layer_paths(model).items()}
    places = layer_paths(work)
    rows = []
    for layer, numbers in graph.made:
        roots = graph.roots(numbers)
        left = sorted({reasons[int(each)] for each in roots[np.isin(roots, zero)]} - {""})
        path = paths[id(layer)]
        rows.append(
            {
                "layer": path,
                "units_before": len(roots),
                "zero_units": int(np.isin(roots, zero).sum()),
                "units_after": int((~np.isin(roots, removed)).sum()),
                "reason": "; ".join(left),
                "parameters_before": layer.count_params(),
                "parameters_after": places[path].count_params(),
            }
        )
    total = {
        "parameters_before": model.count_params(),
        "parameters_after": work.count_params(),
    }
    return table(rows, total=total)
