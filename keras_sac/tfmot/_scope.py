"""The scope in which old code loads pruned models."""

from typing import Any

import keras

from keras_sac import pruning


def prune_scope() -> Any:
    """Return a scope in which pruned models can be loaded.

    Nothing needs it: what a pruned model is saved with is known to Keras once this package is
    imported. It is there for code that was written with it.

    Returns:
        A `keras.saving.CustomObjectScope`, for a `with` statement.

    Examples:
        >>> with prune_scope():
        ...     kind = keras.saving.get_registered_object("PruningOptimizer")
        >>> kind.__name__
        'PruningOptimizer'
    """
    known = {kind.__name__: kind for kind in (pruning.PruningOptimizer, pruning.Target)}
    return keras.saving.custom_object_scope(known)
