"""Which layers of a model are pruned."""

import abc

import keras


class PruningPolicy(abc.ABC):
    """Says which layers of a model are pruned, and refuses models that are not fit for it.

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
        """Return whether the layer is pruned; asked about each layer of a model, not of a layer."""

    @abc.abstractmethod
    def ensure_model_supports_pruning(self, model: keras.Model) -> None:
        """Raise `ValueError` if the model must not be pruned."""
