"""Walk the layers of a model, and name them by their place in it."""

import keras

# Layers that call their inner layer once a step, inside a loop that some backends compile: the
# output of a step is part of their own output, and cannot be observed everywhere.
STEPWISE = (keras.layers.RNN, keras.layers.TimeDistributed)


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return a layer or model and every layer inside it, each once, outer layers first."""
    # Keras has no public way to see the layers inside a composite layer.
    return layer._flatten_layers()


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers directly inside a layer or model."""
    # Only models have a public `layers`.
    return layer._flatten_layers(include_self=False, recursive=False)


def layer_paths(model: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """Return the layers of a model by path: names joined by `/` inside nested models and layers.

    A shared layer has the path of its first place; the model has its own name. Layers inside
    recurrent and `TimeDistributed` layers are left out.
    """
    paths: dict[str, keras.layers.Layer] = {}
    known: set[int] = set()

    def walk(layer: keras.layers.Layer, path: str, prefix: str) -> None:
        known.add(id(layer))
        same = sum(other == path or other.startswith(f"{path}#") for other in paths)
        paths[f"{path}#{same + 1}" if same else path] = layer
        if isinstance(layer, STEPWISE):
            return
        for inner in inner_layers(layer):
            if id(inner) not in known:
                walk(inner, prefix + inner.name, f"{prefix}{inner.name}/")

    walk(model, model.name, "")
    return paths


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the weights of a layer without those of the layers inside it that have a path."""
    if isinstance(layer, STEPWISE):
        return list(layer.weights)
    inside = {id(weight) for each in inner_layers(layer) for weight in each.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]
