"""Finding the SAC layers of a model."""

import keras

from keras_sac._model import all_layers
from keras_sac.layers._subspace_layer import SubspaceLayer


def sac_layers(model: keras.Model) -> list[SubspaceLayer]:
    """Return the SAC layers of a model, those of nested models and layers included, each once."""
    return [layer for layer in all_layers(model) if isinstance(layer, SubspaceLayer)]
