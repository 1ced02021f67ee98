"""Fingerprint of a model: equal for equal layers, settings and weights."""

import hashlib
import json
from typing import Any

import keras
import numpy as np

from keras_sac._model import layer_paths, own_weights

# Settings of a layer that do not change what it computes.
_OTHER = ("name", "trainable", "initializer", "regularizer", "constraint", "seed")


def fingerprint(model: keras.Model) -> str:
    """Return a hash of the classes, paths and settings of all layers, and of all weights."""
    digest = hashlib.sha256()
    for path, layer in layer_paths(model).items():
        weights = own_weights(layer)
        # Only the names of kernels matter; those of others may be drawn when they are made.
        name = path if weights and layer is not model else ""
        digest.update(f"{name}:{type(layer).__name__}".encode())
        digest.update(json.dumps(_settings(layer), sort_keys=True, default=repr).encode())
        for weight in weights:
            values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
            digest.update(f"{weight.name}:{values.dtype}:{values.shape}".encode())
            digest.update(values.view(np.uint8).data if values.size else b"")
    return digest.hexdigest()[:32]


def _settings(layer: keras.layers.Layer) -> Any:
    """Return the settings of one of Keras' own layers, such as strides and activation."""
    ours = type(layer).__module__.startswith("keras.")
    # A model's configuration holds its layers, which have entries of their own.
    if not ours or isinstance(layer, keras.Model | keras.layers.Lambda | keras.layers.InputLayer):
        return None
    try:
        config = layer.get_config()
    except (NotImplementedError, TypeError, ValueError):
        return None  # it holds something that Keras cannot save
    return {name: value for name, value in config.items() if not name.endswith(_OTHER)}
