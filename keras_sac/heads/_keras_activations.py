"""Register activations with Keras by name, and check Keras' own sparsemax."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_sac import _backend


def register_activation(function: Callable[..., Any], loss_name: str) -> None:
    """Let Keras save a function as an activation, and find it by the name `"keras_sac>..."`.

    No name of Keras' own changes its meaning: `activation="sparsemax"` stays Keras' sparsemax.

    Args:
        function: from logits to probabilities.
        loss_name: name of the loss that trains the logits, for `check_loss` and `swap_head`.
    """
    keras.saving.register_keras_serializable("keras_sac", function.__name__)(function)
    # Keras saves an activation by its `__name__` alone if one of its own has the same name, and
    # would load its own `sparsemax` then.
    function.__name__ = keras.saving.get_registered_name(function)
    function.loss_name = loss_name
    # Keras has no public function that adds a name for `activation=`: `keras.activations.get` looks
    # for texts in this table alone. Without the table activations are found by object only.
    table = keras.activations.get.__globals__.get("ALL_OBJECTS_DICT", {})
    table[function.__name__] = function


@functools.cache
def keras_sparsemax_is_wrong() -> bool:
    """Return whether `keras.activations.sparsemax` of the installed Keras is not the projection.

    In Keras 3.15.1 it returns `[0, 0, 0.25]` for `[0, 0.5, 1]`; sparsemax is `[0, 0.25, 0.75]`
    (keras#23425). `activation="keras_sac>sparsemax"` is correct whatever Keras is installed.

    Examples:
        >>> from keras_sac.heads import keras_sparsemax_is_wrong
        >>> keras_sparsemax_is_wrong() in {True, False}
        True
    """
    # Also where a step is being traced.
    with _backend.eagerly():
        logits = keras.ops.convert_to_tensor([[0.0, 0.5, 1.0]], "float32")
        found = keras.ops.convert_to_numpy(keras.activations.sparsemax(logits))
    return not np.allclose(found, [[0.0, 0.25, 0.75]], atol=1e-5)
