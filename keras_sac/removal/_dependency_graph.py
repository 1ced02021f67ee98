"""Which units of a model depend on each other, and which weights and tensors they are in."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._model import is_graph, layer_paths, own_weights, run_graph
from keras_sac.removal._channel_labels import (
    Units,
    along,
    couple_slices,
    is_float,
    output_labels,
    sparing,
    without,
)
from keras_sac.removal._layer_rules import LayerRule, rule_of


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What stands for a tensor: some value of it, and the unit of each of its positions."""

    value: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Step:
    """A call of an operation without weights."""

    operation: Any
    arguments: tuple[tuple, dict]
    outputs: list[Tensor]


@dataclasses.dataclass
class LabelledWeight:
    """A weight whose axes belong to units.

    Attributes:
        layer: that it belongs to.
        variable: the weight.
        axes: the unit of each entry, by axis.
        makes: the axes along which it makes units of the outputs.
    """

    layer: keras.layers.Layer
    variable: keras.Variable
    axes: dict[int, np.ndarray]
    makes: tuple[int, ...]


class DependencyGraph:
    """The units of a Functional or Sequential model, found by running it node by node.

    A unit is a channel that a layer makes. It stays or goes together with those that meet it in a
    sum or a product, and with its entries in every weight that reads it. What cannot be followed
    stays, with the reason.

    Args:
        model: built.
        inputs: a few samples for each of `model.inputs`.

    Attributes:
        units: the numbers of the units, in sets.
        weights: the weights that belong to units, by their `id`.
        made: for each layer that makes units, their numbers; inner units of a layer by themselves.
        inputs: for each input of a graph inside, that and its units, by the `id` of the tensor.
        steps: the calls of operations without weights.
        unknown: why the units of other layers with weights are not known, by the `id` of the layer.
        calls: of the layers that make units: the layer, what it received, and what it made.
    """

    def __init__(self, model: keras.Model, inputs: list[np.ndarray]):
        self.units = Units()
        self.weights: dict[int, LabelledWeight] = {}
        self.made: list[tuple[keras.layers.Layer, np.ndarray]] = []
        self.inputs: dict[int, tuple[Any, np.ndarray]] = {}
        self.steps: list[Step] = []
        self.unknown: dict[int, str] = {}
        self.calls: list[tuple[keras.layers.Layer, list[Tensor], Tensor]] = []
        self._slots: dict[tuple[int, Any, int], np.ndarray] = {}
        self._reasons: list[tuple[np.ndarray, str]] = []
        self._paths = {id(layer): path for path, layer in layer_paths(model).items()}
        self._shared = _shared_weights(model)
        tensors = [Tensor(each, np.zeros(each.shape, int)) for each in inputs]
        with keras.StatelessScope(), _backend.without_gradients():
            for tensor in run_graph(model, tensors, self._call):
                self._stay(tensor.labels, "they are outputs of the model")
            self._check_steps()

    def roots(self, numbers: np.ndarray) -> np.ndarray:
        """Return the number of the set of each unit; 0 for those that stay."""
        return self.units.roots(numbers)

    def reason(self, numbers: np.ndarray) -> str:
        """Return why some units stay; an empty text if nothing keeps them."""
        roots = self.roots(numbers)
        found = [why for those, why in self._reasons if np.isin(numbers, those).any()]
        return (found or ["they are coupled to units that stay"])[0] if (roots == 0).any() else ""

    def _stay(self, labels: np.ndarray, why: str) -> None:
        """Let units stay, and all that are coupled to them."""
        # Those that are in their sets now are kept for the same reason.
        roots = np.unique(self.units.roots(labels))
        roots = roots[roots > 0]
        if len(roots):
            numbers = np.arange(self.units.count)
            self._reasons.append((numbers[np.isin(self.units.roots(numbers), roots)], why))
            self.units.couple(roots, 0)

    def _call(self, operation: Any, args: tuple, kwargs: dict) -> Any:
        if is_graph(operation):
            return self._graph(operation, args, kwargs)
        if isinstance(operation, keras.layers.Layer) and operation.weights:
            outputs = self._layer(operation, args, kwargs)
        else:
            outputs = self._operation(operation, args, kwargs)
        for tensor in outputs:
            couple_slices(tensor.labels, self.units)
        return outputs if len(outputs) > 1 else outputs[0]

    def _graph(self, model: keras.Model, args: tuple, kwargs: dict) -> Any:
        given = _tensors((args, kwargs))
        for symbolic, tensor in zip(model.inputs, given, strict=True):
            _, known = self.inputs.setdefault(id(symbolic), (symbolic, tensor.labels))
            self.units.couple(known, tensor.labels)
        outputs = run_graph(model, given, self._call)
        return outputs if len(outputs) > 1 else outputs[0]

    def _layer(self, layer: Any, args: tuple, kwargs: dict) -> list[Tensor]:
        """Follow the units through a layer with weights."""
        values = evaluate(layer, args, kwargs)
        # A mask has no channels.
        named = {name: each for name, each in kwargs.items() if "mask" not in name}
        given, path = _tensors((args, named)), self._named(layer)
        rule = self._rule(layer, len(given), len(values))
        if isinstance(rule, str):
            self.unknown[id(layer)] = rule
            for tensor in given:
                self._stay(tensor.labels, f"they reach {path!r}: {rule}")
            return [Tensor(each, np.zeros(each.shape, int)) for each in values]
        if rule.inner_units(layer):
            given = _by_argument(given, args, kwargs)
        for index, tensor in enumerate(given):
            axes = rule.input_axes(layer, tensor.value.ndim)
            for place, channels in enumerate(self._along(tensor.labels, axes, path)):
                self._couple_groups(channels, rule.groups(layer))
                self._fill(layer, index, place, channels)
        for name, count in rule.inner_units(layer).items():
            if (id(layer), name, 0) not in self._slots:
                self.made.append((layer, self._fill(layer, name, 0, self.units.new(count))))
        (value,) = values
        labels = np.zeros(value.shape, int)
        axes = rule.output_axes(layer, value.ndim)
        if rule.makes_units:
            labels[:] = self._new_units(layer, [value.shape[axis] for axis in axes], axes, value)
            if rule.groups(layer) > 1:
                self._couple_groups(self._slots[id(layer), "outputs", 0], rule.groups(layer))
        else:
            found = self._along(given[0].labels, rule.input_axes(layer, value.ndim), path)
            for place, (axis, channels) in enumerate(zip(axes, found, strict=True)):
                channels = np.repeat(channels, rule.repeats(layer))
                self._fill(layer, "outputs", place, channels)
                shape = np.ones(value.ndim, int)
                shape[axis] = len(channels)
                labels += channels.reshape(shape)  # of one axis only, or nothing
        for variable, of in rule.weights(layer):
            axes = {
                axis: each.entries(self._slots[id(layer), each.of, each.place])
                for axis, each in of.items()
            }
            made = tuple(axis for axis, each in of.items() if each.made and each.of == "outputs")
            self.weights[id(variable)] = LabelledWeight(layer, variable, axes, made)
        made = Tensor(value, labels)
        if rule.makes_units:
            self.calls.append((layer, given, made))
        return [made]

    def _rule(self, layer: Any, inputs: int, outputs: int) -> LayerRule | str:
        """Return the rule of a layer with weights, or why its units are not known."""
        rule = rule_of(layer)
        if isinstance(rule, str):
            return rule
        if inputs > 1 and not rule.inner_units(layer):
            return "it has several inputs"
        if outputs > 1:
            return "it returns several tensors"
        if self._shared & {id(each) for each in layer.weights}:
            return "a weight of it belongs to another layer, too"
        return rule

    def _new_units(
        self, layer: Any, sizes: list[int], axes: tuple[int, ...], value: np.ndarray
    ) -> np.ndarray:
        """Return the units that a layer makes, in the shape of its outputs."""
        whole = np.ones(value.ndim, int)
        total = np.zeros(whole, int)
        for place, (axis, size) in enumerate(zip(axes, sizes, strict=True)):
            key = (id(layer), "outputs", place)
            if key not in self._slots:
                self._slots[key] = self.units.new(size)
                self.made.append((layer, self._slots[key]))
            shape = whole.copy()
            shape[axis] = size
            # Of several axes, only the last keeps its units: positions have one number each.
            total = np.broadcast_to(self._slots[key].reshape(shape), value.shape)
            if place < len(axes) - 1:
                self._stay(self._slots[key], "its outputs have several axes of units")
        return total

    def _fill(self, layer: Any, of: Any, place: int, labels: np.ndarray) -> np.ndarray:
        known = self._slots.setdefault((id(layer), of, place), labels)
        self.units.couple(known, labels)
        return known

    def _along(self, labels: np.ndarray, axes: tuple[int, ...], path: str) -> list[np.ndarray]:
        """Return the units along each of some axes; one of them has all units of the tensor."""
        labels = self.units.roots(labels)
        found = [np.zeros(labels.shape[axis], int) for axis in axes]
        if not axes or labels.max(initial=0) <= 0:
            return found
        for place, axis in enumerate(axes):
            units = along(labels, axis)
            if units is not None:
                found[place] = units
                return found
        self._stay(labels, f"they reach {path!r} along another axis than that of its channels")
        return found

    def _couple_groups(self, channels: np.ndarray, groups: int) -> None:
        if groups > 1:
            parts = channels.reshape(groups, -1)
            self.units.couple(np.broadcast_to(parts[:1], parts.shape), parts)

    def _operation(self, operation: Any, args: tuple, kwargs: dict) -> list[Tensor]:
        """Follow the units through an operation without weights."""
        given = _tensors((args, kwargs))
        values = evaluate(operation, args, kwargs)
        if all(self.units.roots(each.labels).max(initial=0) <= 0 for each in given):
            return [Tensor(each, np.zeros(each.shape, int)) for each in values]

        def function(arrays: list[np.ndarray]) -> list[np.ndarray]:
            return evaluate(operation, *_filled((args, kwargs), arrays))

        labels, lost = output_labels(
            function, [each.value for each in given], [each.labels for each in given], self.units
        )
        for each in lost:
            self._stay(each, f"{self._named(operation)!r} mixes them")
        outputs = [Tensor(*each) for each in zip(values, labels, strict=True)]
        self.steps.append(Step(operation, (args, kwargs), outputs))
        return outputs

    def _named(self, operation: Any) -> str:
        return self._paths.get(id(operation)) or str(operation.name)

    def _check_steps(self) -> None:
        """Let units stay whose removal an operation would not survive.

        An operation that holds sizes, such as a slice, makes something else of smaller inputs.
        """
        again = True
        while again:
            again = False
            for step in self.steps:
                tensors = [*_tensors(step.arguments), *step.outputs]
                if not self._survives(step, self._trials(tensors)):
                    name = self._named(step.operation)
                    for each in tensors:
                        self._stay(each.labels, f"{name!r} has sizes that do not change with them")
                    again = True

    def _trials(self, tensors: list[Tensor]) -> list[np.ndarray]:
        """Return units to try to remove: one, the first few, and any half."""
        of = [np.unique(self.units.roots(tensor.labels)) for tensor in tensors]
        of = [units[units > 0] for units in of]
        units = np.unique(np.concatenate(of))
        half = np.random.default_rng(0).permutation(units)[: len(units) // 2]
        trials = (units[-1:], units[: len(units) // 3], half)
        return [trial for trial in (sparing(each, of) for each in trials) if len(trial)]

    def _survives(self, step: Step, trials: list[np.ndarray]) -> bool:
        """Return whether an operation makes the rest of its outputs of the rest of its inputs."""
        if not trials:
            return True
        rng, given = np.random.default_rng(0), _tensors(step.arguments)
        values = [
            rng.normal(size=each.value.shape).astype(each.value.dtype)
            if is_float(each.value)
            else each.value
            for each in given
        ]
        full = evaluate(step.operation, *_filled(step.arguments, values))
        for removed in trials:
            wanted = self._without(full, step.outputs, removed)
            smaller = self._without(values, given, removed)
            if wanted is None or smaller is None:
                return False
            changed = resized(step.operation, [each.shape for each in wanted])
            try:
                found = evaluate(changed, *_filled(step.arguments, smaller))
            except Exception:  # whatever an operation raises on shapes that do not fit it
                return False
            if not all(map(_alike, found, wanted)):
                return False
        return True

    def _without(
        self, values: list[np.ndarray], tensors: list[Tensor], removed: np.ndarray
    ) -> list[np.ndarray] | None:
        """Return values of some tensors without units; `None` if these are no whole slices."""
        found = [
            without(value, self.units.roots(tensor.labels), removed)
            for value, tensor in zip(values, tensors, strict=True)
        ]
        return None if any(each is None for each in found) else found  # pyright: ignore


def _alike(new: np.ndarray, old: np.ndarray) -> bool:
    """Return whether two arrays are equal up to the rounding of their type."""
    if new.shape != old.shape:
        return False
    error = 1e-4 if new.dtype.itemsize > 2 or not is_float(new) else 2e-2
    return np.allclose(new.astype(float), old.astype(float), error, error, equal_nan=True)


def resized(operation: Any, shapes: list[tuple[int, ...]]) -> Any:
    """Return an operation whose outputs have other shapes, the batch included.

    Most operations take their sizes from their inputs; they are returned as they are.
    """
    name = type(operation).__name__
    if isinstance(operation, keras.layers.Reshape):
        if -1 in operation.target_shape:
            target = _with_unknown(operation.target_shape, shapes[0][1:])
        else:
            target = shapes[0][1:]
        return type(operation).from_config(operation.get_config() | {"target_shape": target})
    if name == "Reshape" and hasattr(operation, "newshape"):
        new = type(operation)(_with_unknown(operation.newshape, shapes[0]))
        new.name = operation.name
        return new
    return operation


def _with_unknown(target: Iterable[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape with -1 where a target has it."""
    return tuple(-1 if old in (-1, None) else new for old, new in zip(target, shape, strict=True))


def evaluate(operation: Any, args: tuple, kwargs: dict) -> list[np.ndarray]:
    """Return the outputs of an operation on tensors that have values."""

    def value(each: Any) -> Any:
        return ops.convert_to_tensor(each.value) if isinstance(each, Tensor) else each

    args, kwargs = keras.tree.map_structure(value, (args, kwargs))
    made = keras.tree.flatten(operation(*args, **kwargs))
    return [ops.convert_to_numpy(each) for each in made]


def _tensors(structure: Any) -> list[Tensor]:
    return [each for each in keras.tree.flatten(structure) if isinstance(each, Tensor)]


def _filled(structure: Any, values: list[Any]) -> Any:
    """Return arguments with other values in the place of those of their tensors."""
    left = iter(values)

    def fill(each: Any) -> Any:
        return Tensor(next(left), each.labels) if isinstance(each, Tensor) else each

    return keras.tree.map_structure(fill, structure)


def _by_argument(given: list[Tensor], args: tuple, kwargs: dict) -> list[Tensor]:
    """Return query, value and key of a call of attention."""
    named = dict(zip(("query", "value", "key"), args, strict=False)) | kwargs
    value = named["value"]
    key = named.get("key")
    return [named["query"], value, value if key is None else key]


def _shared_weights(model: keras.Model) -> set[int]:
    """Return the `id` of each weight that several layers hold as their own."""
    seen: set[int] = set()
    shared: set[int] = set()
    for layer in layer_paths(model).values():
        mine = {id(each) for each in own_weights(layer)}
        shared |= seen & mine
        seen |= mine
    return shared
