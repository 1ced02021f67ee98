"""Finding the SAC layers of a model."""

import keras

from keras_sac.layers._subspace_layer import SubspaceLayer


def sac_layers(model: keras.Model) -> list[SubspaceLayer]:
    """Return the SAC layers of a model, those of nested models and layers included, each once."""
    # Keras has no public way to see the layers inside a composite layer.
    return [layer for layer in model._flatten_layers() if isinstance(layer, SubspaceLayer)]
