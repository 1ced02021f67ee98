"""Which weights go together: one by one, or whole filters."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import Kernel


@keras.saving.register_keras_serializable(package="keras_sac")
class Pattern:
    """Base class of the patterns: weights are ranked, and pruned, in groups.

    A subclass pools the scores of the weights into those of the groups, and spreads the decision
    about the groups over the weights.

    Examples:
        >>> isinstance(Unstructured(), Pattern)
        True
    """

    fixed_sparsity: float | None = None

    def check(self, kernel: Kernel) -> None:
        """Raise `ValueError` if the pattern does not fit the kernel."""

    def group_size(self, kernel: Kernel) -> int | np.ndarray:
        """Return how many weights of the kernel a group has, or each of the groups."""
        raise NotImplementedError(f"{type(self).__name__} must implement `group_size`.")

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the scores of the groups, from those of the weights."""
        raise NotImplementedError(f"{type(self).__name__} must implement `pool`.")

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return which weights stay, from which groups do: a boolean tensor of `kernel.shape`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `spread`.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pattern":
        """Make a pattern from what `get_config` returned."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_sac")
class Unstructured(Pattern):
    """Each weight for itself.

    Examples:
        >>> Unstructured().get_config()
        {}
    """

    def group_size(self, kernel: Kernel) -> int:
        """Return 1."""
        return 1

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the scores as they are."""
        return scores

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision as it is."""
        return keep


@keras.saving.register_keras_serializable(package="keras_sac")
class Filters(Pattern):
    """Whole filters: all weights into an output channel, by their mean norm.

    `score_j = mean_i s_ij` for `"l1"`, `sqrt(mean_i s_ij^2)` for `"l2"`, `s` the criterion's scores

    Args:
        norm: `"l1"` or `"l2"`.

    Raises:
        ValueError: if the norm is unknown.

    Examples:
        >>> Filters("l2").get_config()
        {'norm': 'l2'}

    Reference:
        Li et al., "Pruning filters for efficient ConvNets", 2017, https://arxiv.org/abs/1608.08710
    """

    def __init__(self, norm: str = "l1"):
        if norm not in ("l1", "l2"):
            raise ValueError(f'`norm` must be "l1" or "l2". Received: norm={norm!r}')
        self.norm = norm

    def group_size(self, kernel: Kernel) -> int:
        """Return the number of weights of a filter."""
        return kernel.size // kernel.shape[kernel.output_axis]

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the norm of each filter, divided by how many weights it has."""
        axes = [a for a in range(len(kernel.shape)) if a != kernel.output_axis]
        scores = ops.maximum(scores, 0)
        if self.norm == "l1":
            return ops.mean(scores, axis=axes)
        return ops.sqrt(ops.mean(ops.square(scores), axis=axes))

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision about each filter, for each of its weights."""
        shape = [1] * len(kernel.shape)
        shape[kernel.output_axis] = kernel.shape[kernel.output_axis]
        return ops.broadcast_to(ops.reshape(keep, shape), kernel.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"norm": self.norm}
