"""The operations of a model, and the edges between them."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras


class Graph:
    """The graph of a built Sequential or Functional model.

    Args:
        model: the model.

    Attributes:
        operations: all operations of the model.
        inputs: the operations that receive the inputs of the model.
        outputs: the operations that make the outputs of the model.
    """

    def __init__(self, model: keras.Model):
        # A Functional model of the same layers, also for a Sequential one.
        plain = keras.Model(model.inputs, model.outputs)
        config = plain.get_config()
        self._operations = {operation.name: operation for operation in plain.operations}
        self.operations = list(plain.operations)
        self._edges = [
            (source, entry["name"])
            for entry in config["layers"]
            for source in _sources(entry["inbound_nodes"])
        ]
        self.inputs = [op for op in plain.operations if isinstance(op, keras.layers.InputLayer)]
        self.outputs = self._named(_strings(config["output_layers"]))

    def producers(self, operation: Any) -> list[Any]:
        """Return the operations whose outputs an operation receives, each once."""
        return self._named(source for source, target in self._edges if target == operation.name)

    def consumers(self, operation: Any) -> list[Any]:
        """Return the operations that receive the output of an operation, each once."""
        return self._named(target for source, target in self._edges if source == operation.name)

    def _named(self, names: Iterable[str]) -> list[Any]:
        return [self._operations[name] for name in dict.fromkeys(names)]


def first_on_each_path(
    start: Iterable[Any], is_goal: Callable[[Any], bool], step: Callable[[Any], list[Any]]
) -> list[Any]:
    """Return the first goal on each path from `start`; an empty list if a path has no goal."""
    waiting = list(start)
    seen = {id(operation) for operation in waiting}
    goals = []
    while waiting:
        operation = waiting.pop()
        if is_goal(operation):
            goals.append(operation)
            continue
        following = step(operation)
        if not following:
            return []
        new = [each for each in following if id(each) not in seen]
        seen.update(id(each) for each in new)
        waiting.extend(new)
    return goals


def _sources(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        else:
            yield from _sources(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _sources(each)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
