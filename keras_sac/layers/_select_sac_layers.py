"""Find the SAC layers of a model, and resolve the `targets=` argument to them."""

from typing import Any

import keras

from keras_sac._model import all_layers, select_layers
from keras_sac.layers._subspace_layer import SubspaceLayer


def sac_layers(model: keras.Model) -> list[SubspaceLayer]:
    """Return the SAC layers of a model and of the models and layers inside it, each once."""
    return [layer for layer in all_layers(model) if isinstance(layer, SubspaceLayer)]


def select_sac_layers(model: keras.Model, targets: Any, *, purpose: str) -> list[SubspaceLayer]:
    """Return the SAC layers of a model that `targets=` selects, in the order of the model.

    Args:
        model: the model that has the layers.
        targets: as users pass it; `None` selects all SAC layers.
        purpose: completes "nothing that can be ..." in the error: `"projected"`.

    Raises:
        ValueError: if the model has no SAC layer, or a target selects none.
    """
    found = sac_layers(model)
    if not found:
        raise ValueError(
            f"The model {model.name!r} has no SAC layer, so none can be {purpose}. Use a "
            "`keras_sac.SACDense` or one of its siblings in the model."
        )
    return select_layers(model, targets, found, purpose=purpose)
