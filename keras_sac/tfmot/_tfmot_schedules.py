"""Schedules with the interface of tfmot: its helpers for subclasses and its configurations."""

import abc
from typing import Any

import keras
from keras import ops

from keras_sac import pruning
from keras_sac._arguments import fraction


class PruningSchedule(abc.ABC):
    """Base class of schedules: when masks are refreshed, and how sparse they are.

    A subclass implements `__call__(step)`, which returns whether to refresh the masks at that step
    and their sparsity in [0, 1), and `get_config`, which returns the arguments of the constructor
    or `{"class_name": ..., "config": ...}` with these arguments. `step` counts from 1 and may be a
    tensor of a compiled step, so write `__call__` with `keras.ops`.

    Examples:
        >>> class Linear(PruningSchedule):
        ...     def __init__(self, end_step):
        ...         self.end_step = end_step
        ...     def __call__(self, step):
        ...         progress = ops.cast(step, "float32") / self.end_step
        ...         return self._should_prune_in_step(step, 0, self.end_step, 10), 0.9 * progress
        ...     def get_config(self):
        ...         return {"end_step": self.end_step}
        >>> due, sparsity = Linear(end_step=1000)(500)
        >>> bool(due), round(float(sparsity), 2)
        (True, 0.45)
    """

    @abc.abstractmethod
    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether the masks are refreshed at `step`, and their sparsity."""

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningSchedule":
        """Create a schedule from a configuration."""
        return cls(**arguments(config))

    def _should_prune_in_step(
        self, step: Any, begin_step: Any, end_step: Any, frequency: Any
    ) -> Any:
        step = ops.convert_to_tensor(step)
        in_range = ops.logical_and(
            ops.greater_equal(step, begin_step),
            ops.logical_or(ops.less_equal(step, end_step), ops.less(end_step, 0)),
        )
        return ops.logical_and(in_range, ops.equal(ops.mod(step - begin_step, frequency), 0))

    def _validate_step(
        self, begin_step: int, end_step: int, frequency: int, allow_negative_1: bool
    ) -> None:
        if end_step == -1 and not allow_negative_1:
            raise ValueError("`end_step` must be an integer >= 0. Received: end_step=-1")
        # Raises for steps that no schedule accepts.
        pruning.PruningSchedule(begin_step, end_step, frequency)

    def _validate_sparsity(self, sparsity: float, variable_name: str) -> None:
        fraction(variable_name, sparsity)


class _Nested:
    # The configurations of tfmot have the class name around the arguments.
    def get_config(self) -> dict[str, Any]:
        """Return the name of the class and the arguments of the constructor."""
        return {"class_name": type(self).__name__, "config": super().get_config()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Create a schedule from a configuration."""
        return cls(**arguments(config))

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v}" for k, v in arguments(self.get_config()).items())
        return f"{type(self).__name__}({values})"


@keras.saving.register_keras_serializable(package="keras_sac.tfmot")
class ConstantSparsity(_Nested, pruning.ConstantSparsity, PruningSchedule):
    """Prune to the same sparsity at each refresh.

    `s(t) = target_sparsity`

    Args:
        target_sparsity: fraction of zero weights, in [0, 1).
        begin_step: first step at which the masks are refreshed, at least 0.
        end_step: last such step. Defaults to -1: refresh until training ends.
        frequency: number of steps between two refreshes, at least 1.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> due, sparsity = ConstantSparsity(0.5, begin_step=0)(100)
        >>> bool(due), float(sparsity)
        (True, 0.5)
    """


@keras.saving.register_keras_serializable(package="keras_sac.tfmot")
class PolynomialDecay(_Nested, pruning.PolynomialDecay, PruningSchedule):
    """Increase the sparsity quickly at first, and slowly towards its final value.

    `s(t) = s_f + (s_i - s_f) (1 - (t - begin) / (end - begin)) ** power`

    Args:
        initial_sparsity: fraction of zero weights at `begin_step`, in [0, 1).
        final_sparsity: fraction of zero weights from `end_step` on, in [0, 1).
        begin_step: first step at which the masks are refreshed, at least 0.
        end_step: last such step, at least `begin_step`.
        power: exponent, above 0; 1 is linear.
        frequency: number of steps between two refreshes, at least 1.
        prune_at_end: whether to refresh at `end_step` whatever the frequency, so that the final
            sparsity is reached. `False` refreshes exactly when tfmot does.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=2000)
        >>> [round(float(schedule(step)[1]), 4) for step in (0, 500, 1000, 2000)]
        [0.5, 0.6734, 0.7625, 0.8]

    Reference:
        Zhu and Gupta, "To prune, or not to prune", 2017, https://arxiv.org/abs/1710.01878
    """


def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the constructor from a configuration in either form."""
    return config["config"] if set(config) == {"class_name", "config"} else config
