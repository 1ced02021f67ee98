"""The small public names of tfmot: `PruningPolicy`, `PrunableLayer` and `prune_scope`."""

import abc
from collections.abc import Sequence
from typing import Any

import keras

from keras_sac import pruning


class PruningPolicy(abc.ABC):
    """Base class of policies: selects the layers of a model to prune, and rejects other models.

    Examples:
        >>> class AllButTheLast(PruningPolicy):
        ...     def allow_pruning(self, layer):
        ...         return layer.name != "last"
        ...     def ensure_model_supports_pruning(self, model):
        ...         model.get_layer("last")
        >>> AllButTheLast().allow_pruning(keras.layers.Dense(4, name="first"))
        True
    """

    @abc.abstractmethod
    def allow_pruning(self, layer: keras.layers.Layer) -> bool:
        """Return whether to prune a layer. Called for each layer of a model, not inside layers."""

    @abc.abstractmethod
    def ensure_model_supports_pruning(self, model: keras.Model) -> None:
        """Raise `ValueError` if the model must not be pruned."""


class PrunableLayer(abc.ABC):
    """Base class of custom layers that name their weights to prune.

    Derive the layer from a Keras layer and from this class. Any layer with the method
    `get_prunable_weights` is treated the same way, also without this base class.

    Examples:
        >>> class Scaled(keras.layers.Dense, PrunableLayer):
        ...     def get_prunable_weights(self):
        ...         return [self.kernel, self.bias]
        >>> layer = Scaled(4)
        >>> layer.build((None, 8))
        >>> [weight.name for weight in layer.get_prunable_weights()]
        ['kernel', 'bias']
    """

    @abc.abstractmethod
    def get_prunable_weights(self) -> Sequence[keras.Variable]:
        """Return the variables of the layer to prune, of any name and shape."""


def prune_scope() -> Any:
    """Return a scope in which pruned models can be loaded.

    It exists for code written for tfmot. After `import keras_sac` pruned models load without it.

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
