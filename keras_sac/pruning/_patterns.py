"""Sparsity patterns: prune weights one by one (unstructured), or whole filters."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import Kernel


@keras.saving.register_keras_serializable(package="keras_sac")
class Pattern:
    """Base class of sparsity patterns, and the extension point for new ones.

    A pattern divides the weights of a kernel into groups. The weights of a group are pruned
    together.

    A subclass must implement `pool(scores, kernel)`, `spread(keep, kernel)` and
    `group_size(kernel)`; the first two with `keras.ops`, because they run inside the compiled
    training step. It must also implement `get_config()` if its constructor has arguments, and may
    implement `check(kernel)`. Register the class with `keras.saving.register_keras_serializable`,
    so that `keras.models.load_model` can load a model that was compiled with it.

    `kernel` describes the variable to prune. It has the attributes `path`, `shape`, `size`,
    `input_axis` and `output_axis`.

    Attributes:
        fixed_sparsity: `None` if the sparsity comes from the schedule. A pattern that has its own,
            such as 2:4, sets this to a number in (0, 1); its `pool` returns a negative score for
            each group to prune.

    Examples:
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class InputRows(Pattern):
        ...     def check(self, kernel):
        ...         if len(kernel.shape) != 2:
        ...             raise ValueError(f"{kernel.path} of shape {kernel.shape} is no matrix.")
        ...
        ...     def group_size(self, kernel):
        ...         return kernel.shape[1]
        ...
        ...     def pool(self, scores, kernel):
        ...         return ops.mean(ops.maximum(scores, 0), axis=1)
        ...
        ...     def spread(self, keep, kernel):
        ...         return ops.broadcast_to(ops.expand_dims(keep, 1), kernel.shape)
        >>> from keras_sac.pruning import prune_to_sparsity
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.1, 4.0], [3.0, 2.0]]), np.zeros(2)])
        >>> table = prune_to_sparsity(model, 0.5, pattern=InputRows())
        >>> model.get_weights()[0].tolist()
        [[0.0, 0.0], [3.0, 2.0]]
    """

    fixed_sparsity: float | None = None

    def check(self, kernel: Kernel) -> None:
        """Raise `ValueError` if the pattern does not fit the kernel. Accepts all by default."""

    def group_size(self, kernel: Kernel) -> int | np.ndarray:
        """Return the number of weights in a group. A subclass must implement this method.

        Args:
            kernel: description of the kernel.

        Returns:
            An integer, or an integer array with the shape of `pool(scores, kernel)` if the groups
            have different sizes.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `group_size`.")

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the score of each group. A subclass must implement this method.

        Args:
            scores: float tensor of shape `kernel.shape`, float32 or float64. The score is -1 where
                a weight must be pruned, because the criterion returned NaN for it.
            kernel: description of the kernel.

        Returns:
            A float tensor with one entry for each group, of any shape. The groups with the smallest
            entries are pruned; groups with a negative entry always.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `pool`.")

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the mask of the weights from that of the groups. A subclass must implement it.

        Args:
            keep: boolean tensor with the shape of `pool(scores, kernel)`, true for groups to keep.
            kernel: description of the kernel.

        Returns:
            A boolean tensor of shape `kernel.shape`, true for weights to keep.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `spread`.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pattern":
        """Create a pattern from the result of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_sac")
class Unstructured(Pattern):
    """Unstructured sparsity: each weight is pruned on its own.

    Examples:
        >>> Unstructured().get_config()
        {}
    """

    def group_size(self, kernel: Kernel) -> int:
        """Return 1."""
        return 1

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return `scores` unchanged."""
        return scores

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return `keep` unchanged."""
        return keep


@keras.saving.register_keras_serializable(package="keras_sac")
class Filters(Pattern):
    """Filter sparsity: prune or keep all weights into an output channel, by their mean norm.

    `score_j = mean_i s_ij` for `"l1"`, `sqrt(mean_i s_ij^2)` for `"l2"`, where `s` are the scores
    of the criterion

    Args:
        norm: `"l1"` or `"l2"`.

    Raises:
        ValueError: if `norm` is unknown.

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
        """Return the number of weights in a filter."""
        return kernel.size // kernel.shape[kernel.output_axis]

    def pool(self, scores: Any, kernel: Kernel) -> Any:
        """Return the mean norm of each filter."""
        axes = [a for a in range(len(kernel.shape)) if a != kernel.output_axis]
        scores = ops.maximum(scores, 0)
        if self.norm == "l1":
            return ops.mean(scores, axis=axes)
        return ops.sqrt(ops.mean(ops.square(scores), axis=axes))

    def spread(self, keep: Any, kernel: Kernel) -> Any:
        """Return the decision for each weight, that of its filter."""
        shape = [1] * len(kernel.shape)
        shape[kernel.output_axis] = kernel.shape[kernel.output_axis]
        return ops.broadcast_to(ops.reshape(keep, shape), kernel.shape)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"norm": self.norm}
