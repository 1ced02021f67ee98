"""The activations by name: `activation="keras_sac>sparsemax"`, and what `"sparsemax"` means."""

import functools
import warnings
from typing import Any

import keras
import numpy as np

from keras_sac import _backend
from keras_sac.heads._sparse_functions import entmax15, sparsemax


@functools.cache
def keras_sparsemax_is_wrong() -> bool:
    """Return whether `keras.activations.sparsemax` of the installed Keras is no projection.

    It is not in 3.15.1 (keras#23425): it gives `[0, 0, 0.25]` for `[0, 0.5, 1]`.

    Examples:
        >>> from keras_sac.heads import keras_sparsemax_is_wrong
        >>> keras_sparsemax_is_wrong() in {True, False}
        True
    """
    # The one call of it, to judge it. A layer may ask for that in the middle of a trace.
    with _backend.eagerly():
        logits = keras.ops.convert_to_tensor([[0.0, 0.5, 1.0]], "float32")
        found = keras.ops.convert_to_numpy(keras.activations.sparsemax(logits))
    return not np.allclose(found, [[0.0, 0.25, 0.75]], atol=1e-5)


def _plain_sparsemax(x: Any, axis: int = -1) -> Any:
    if keras_sparsemax_is_wrong():
        _warn_once()
    return sparsemax(x, axis)


@functools.cache
def _warn_once() -> None:
    warnings.warn(
        f'The activation "sparsemax" of Keras {keras.__version__} is wrong: it gives [0, 0, 0.25] '
        "for [0, 0.5, 1], where sparsemax is [0, 0.25, 0.75] (keras#23425). Since keras_sac is "
        'imported, the name stands for `keras_sac.sparsemax`; write "keras_sac>sparsemax" to say '
        "so. A model that was trained with the wrong one gives other outputs now.",
        stacklevel=2,
    )


def _register() -> None:
    # Saved as what it does.
    _plain_sparsemax.__name__ = sparsemax.__name__
    _plain_sparsemax.loss_name = sparsemax.loss_name
    # `keras.activations.get` looks for a string in this table alone, and no public function adds
    # to it. A Keras that has another one finds activations by object only.
    table = keras.activations.get.__globals__.get("ALL_OBJECTS_DICT", {})
    table[sparsemax.__name__] = sparsemax
    table[entmax15.__name__] = entmax15
    table["sparsemax"] = _plain_sparsemax


_register()
