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
from keras_sac.removal._channel_labels import along, sparing
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._layer_rules import LayerRule, rule_of
from keras_sac.removal._smaller_model import smaller_model

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
        sample: inputs, for models that leave sizes open; two samples or more, of any values. With
            one, constants other than zero stay.

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
    reasons = _why_not_exact(graph, zero)
    removed = np.setdiff1d(zero, list(reasons))
    going = sparing(removed, [np.unique(graph.roots(numbers)) for _, numbers in graph.made])
    reasons |= dict.fromkeys(np.setdiff1d(removed, going).tolist(), "its layer has no other unit")
    removed = going
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
    return np.setdiff1d(graph.roots(np.concatenate(made)), graph.roots(np.concatenate(alive)))


def _why_not_exact(graph: DependencyGraph, zero: np.ndarray) -> dict[int, str]:
    """Return the units of zeros without which something would change, and what."""
    reasons: dict[int, str] = {}

    def stay(units: np.ndarray, why: str) -> None:
        for unit in np.intersect1d(units, zero):
            reasons.setdefault(int(unit), why)

    for weight in graph.weights.values():
        if isinstance(weight.layer, _STATISTICS):
            name = weight.layer.name
            for each in weight.axes.values():
                stay(graph.roots(each), f"the statistics of {name!r} are over all channels")
    for layer, given, made in graph.calls:
        own = [made] if isinstance(layer, keras.layers.RNN) else []
        for tensor in (*given, *own):
            reached = graph.roots(tensor.labels)[tensor.value != 0]
            if not _adds_constants(layer):
                stay(
                    reached,
                    f"its constant outputs reach {layer.name!r}, which cannot take them over",
                )
            elif np.isin(reached, zero).any():
                _, varying = _channels(graph, layer)
                stay(varying, f"its outputs are not constant where they reach {layer.name!r}")
    return reasons


def _adds_constants(layer: Any) -> bool:
    """Return whether a constant input of a layer is the same as a constant in its bias."""
    if isinstance(layer, keras.layers.Dense):
        return layer.use_bias
    if not isinstance(layer, keras.layers.Conv1D | keras.layers.Conv2D | keras.layers.Conv3D):
        return False
    # Padding is zero, so it is no constant of another value.
    padded = layer.padding != "valid" and math.prod(layer.kernel_size) > 1
    return layer.use_bias and layer.groups == 1 and not padded


def _channels(graph: DependencyGraph, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the first value of each channel that a layer receives, and the units that vary."""
    rows, labels, single = [], np.zeros(0, int), False
    for each, given, _ in graph.calls:
        if each is layer:
            (tensor,) = given
            rule = rule_of(layer)
            assert isinstance(rule, LayerRule)  # it is one of the calls of the graph
            (axis,) = rule.input_axes(layer, tensor.value.ndim)
            channels, single = tensor.value.shape[axis], len(tensor.value) == 1
            rows.append(np.moveaxis(tensor.value, axis, -1).reshape(-1, channels))
            found = along(graph.roots(tensor.labels), axis)
            labels = np.zeros(channels, int) if found is None else found
    joined = np.concatenate(rows)
    varying = np.ptp(joined, axis=0) > 0
    # One sample shows of no other number that it is constant.
    return joined[0], labels[varying | (joined[0] != 0) if single else varying]


def _constant(graph: DependencyGraph, layer: Any, removed: np.ndarray) -> np.ndarray | None:
    """Return what the bias of a layer takes over from units that go; `None` if nothing."""
    weight = graph.weights.get(id(getattr(layer, "kernel", None)))
    if weight is None or not _adds_constants(layer):
        return None
    gone = np.isin(graph.roots(weight.axes[len(layer.kernel.shape) - 2]), removed)
    if not gone.any():
        return None
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    kernel = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
    constant = _channels(graph, layer)[0][gone] @ kernel[gone]
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
        left = sorted({reasons[each] for each in map(int, roots) if each in reasons})
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
