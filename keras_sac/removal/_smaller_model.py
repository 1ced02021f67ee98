"""Build a model without some of its units."""

from typing import Any

import keras
import numpy as np

from keras_sac._model import Copies
from keras_sac.removal._channel_labels import without
from keras_sac.removal._dependency_graph import DependencyGraph, LabelledWeight, resized
from keras_sac.removal._layer_rules import LayerRule, configuration, rule_of


def smaller_model(model: keras.Model, graph: DependencyGraph, removed: np.ndarray) -> keras.Model:
    """Return a copy of a model without some units; all other weights are those of the original.

    Args:
        model: that of the graph.
        graph: its units.
        removed: the sets of units that go.
    """
    gone = {
        key: {axis: np.isin(graph.roots(units), removed) for axis, units in each.axes.items()}
        for key, each in graph.weights.items()
    }
    values = {key: smaller_weight(each, gone[key]) for key, each in graph.weights.items()}
    copies = Copies()
    changed: dict[int, tuple[Any, Any]] = {}
    for key, each in graph.weights.items():
        if values[key].shape != tuple(each.variable.shape) and id(each.layer) not in changed:
            changed[id(each.layer)] = (each.layer, _new_layer(each.layer, values))
    for old, new in changed.values():
        copies.put(old, new)
    for step in graph.steps:
        shapes = [_shape(graph, each.labels, removed) for each in step.outputs]
        if any(new != each.labels.shape for new, each in zip(shapes, step.outputs, strict=True)):
            new = resized(step.operation, shapes)
            if new is not step.operation:
                copies.put(step.operation, new)
    for symbolic, labels in graph.inputs.values():
        kept = _shape(graph, labels, removed)
        if kept != labels.shape:
            sizes = zip(symbolic.shape, labels.shape, kept, strict=True)
            copies.shapes[id(symbolic)] = tuple(
                old if before == after else after for old, before, after in sizes
            )
    new_model = copies.of(model)
    for old, new in changed.values():
        for before, after in zip(old.weights, new.weights, strict=True):
            after.assign(values.get(id(before), before.value))
    return new_model


def _shape(graph: DependencyGraph, labels: np.ndarray, removed: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a tensor without some units."""
    left = without(labels, graph.roots(labels), removed)
    assert left is not None  # units are coupled so that tensors stay boxes
    return left.shape


def smaller_weight(weight: LabelledWeight, gone: dict[int, np.ndarray]) -> np.ndarray:
    """Return the value of a weight without the entries that are gone."""
    value = keras.ops.convert_to_numpy(weight.variable.value)
    for axis, marked in gone.items():
        value = np.compress(~marked, value, axis=axis)
    return value


def _new_layer(layer: Any, values: dict[int, np.ndarray]) -> Any:
    """Return a layer of the same kind with the sizes of some weights; its weights are not set."""
    rule = rule_of(layer)
    assert isinstance(rule, LayerRule)  # it has weights that belong to units
    shapes = {key: value.shape for key, value in values.items()}
    return type(layer).from_config(configuration(layer) | rule.config(layer, shapes))
