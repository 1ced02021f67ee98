"""Write the arguments of a SAC layer into its configuration."""

from typing import Any

import keras

from keras_sac.bases import Basis
from keras_sac.layers._basis_source import LiveKind
from keras_sac.layers._basis_state import basis_is_missing

_PLAIN = ("rank", "use_bias", "center", "basis_trainable", "seed")
_SERIALIZED = {
    "activation": keras.activations,
    "basis_constraint": keras.constraints,
    "learner_initializer": keras.initializers,
    "bias_initializer": keras.initializers,
    "learner_regularizer": keras.regularizers,
    "bias_regularizer": keras.regularizers,
    "activity_regularizer": keras.regularizers,
    "learner_constraint": keras.constraints,
    "bias_constraint": keras.constraints,
}


def subspace_config(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return the arguments of `SubspaceLayer`, and the gain that the learner is drawn with.

    The configuration names the kind of the basis; its matrix is a weight. In the same process the
    name also leads to the matrix, so that a copy of the layer has the same basis.
    """
    config = {name: getattr(layer, name) for name in _PLAIN}
    for name, module in _SERIALIZED.items():
        config[name] = module.serialize(getattr(layer, name))
    return {"basis": LiveKind(layer.kind, lambda: _live_basis(layer)), **config} | {
        "learner_gain": layer._gain
    }


def _live_basis(layer: keras.layers.Layer) -> Basis | None:
    return layer._given if not layer.built or basis_is_missing(layer) else layer.get_basis()
