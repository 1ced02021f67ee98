"""Find the layer that makes each output of a model."""

import dataclasses
from typing import Any

import keras

from keras_sac._model import Call, batch_of, is_graph, noise, watched_calls


@dataclasses.dataclass(frozen=True)
class Output:
    """An output of a model.

    Attributes:
        key: its key if the outputs are a dictionary, else the name of its operation.
        name: the name of its operation.
        layer: the layer that makes the output; `None` if no layer does.
    """

    key: str
    name: str
    layer: keras.layers.Layer | None


def outputs_of(model: keras.Model, sample: Any = None) -> list[Output]:
    """Return the outputs of a model in the order of its losses.

    The graph says which layers make the outputs of a Functional or Sequential model. Any other
    model, or one with such a model at an output, is called once.

    Args:
        model: the model.
        sample: inputs for the call; random numbers if the model says what it takes.

    Raises:
        ValueError: if the model has to be called and does not say what it takes.
    """
    found = _graph_outputs(model)
    if found and not any(isinstance(each.layer, keras.Model) for each in found):
        return found
    return _observed_outputs(model, noise(model, 1) if sample is None else batch_of(sample, 1))


def output_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that make the outputs of a Functional or Sequential model, each once."""
    layers = [each.layer for each in _graph_outputs(model) if each.layer is not None]
    return list(dict.fromkeys(layers))


def _graph_outputs(model: keras.Model) -> list[Output]:
    if not is_graph(model):
        return []
    layers = {layer.name: layer for layer in model.layers}
    return [
        Output(key, name, _last_layer(layers[name]) if name in layers else None)
        for key, name in _keys_and_names(model)
    ]


def _keys_and_names(model: Any) -> list[tuple[str, str]]:
    if isinstance(model, keras.Sequential):
        return [(model.layers[-1].name,) * 2] if model.layers else []
    names = list(model.output_names)
    keys = sorted(model.output) if isinstance(model.output, dict) else names
    # Nested structures have no key for each output.
    return list(zip(keys if len(keys) == len(names) else names, names, strict=True))


def _last_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the last layer of a nested model with one output; else the layer itself."""
    inner = _graph_outputs(layer) if isinstance(layer, keras.Model) else []
    if len(inner) == 1 and inner[0].layer is not None:
        return inner[0].layer
    return layer


def _observed_outputs(model: keras.Model, inputs: Any) -> list[Output]:
    calls: list[Call] = []
    with watched_calls(model, calls.append):
        outputs = model(inputs)
    tensors = keras.tree.flatten(outputs)
    keys = sorted(outputs) if isinstance(outputs, dict) else []
    found = []
    for position, tensor in enumerate(tensors):
        layer = next((c.layer for c in calls if any(own is tensor for own in c.own)), model)
        key = keys[position] if len(keys) == len(tensors) else layer.name
        found.append(Output(key, layer.name, layer))
    return found
