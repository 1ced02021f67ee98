"""Custom layers that say what is pruned in them."""

import abc
from collections.abc import Sequence

import keras


class PrunableLayer(abc.ABC):
    """A layer of your own that says which of its weights are pruned.

    Derive it from a Keras layer and from this class. A layer that has the method
    `get_prunable_weights` without this class is pruned just so.

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
        """Return the variables of the layer that are pruned, whatever their names and shapes."""
