"""Fingerprint of a model: equal for equal structure and equal weights."""

import hashlib

import keras
import numpy as np

from keras_sac._model import layer_paths, own_weights


def fingerprint(model: keras.Model) -> str:
    """Return a hash of the classes and paths of all layers, and of all weights."""
    digest = hashlib.sha256()
    for path, layer in layer_paths(model).items():
        # The name of a model may be drawn when it is made, and says nothing about it.
        name = "" if layer is model else path
        digest.update(f"{name}:{type(layer).__name__}".encode())
        for weight in own_weights(layer):
            values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
            digest.update(f"{weight.name}:{values.dtype}:{values.shape}".encode())
            digest.update(values.view(np.uint8).data if values.size else b"")
    return digest.hexdigest()[:32]
