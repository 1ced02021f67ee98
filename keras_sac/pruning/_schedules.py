"""Pruning schedules: the steps at which masks are refreshed, and the sparsity at each of them."""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import fraction, integer


@keras.saving.register_keras_serializable(package="keras_sac")
class PruningSchedule:
    """Base class of pruning schedules, and the extension point for new ones.

    A schedule decides at which steps the masks are refreshed, and to which sparsity.

    A subclass must implement `__call__(step)`. Write it with `keras.ops`, because `step` may be a
    tensor of the compiled training step. If the constructor has other arguments than `begin_step`,
    `end_step` and `frequency`, the subclass must also implement `get_config()`, which returns all
    of them. Register the class with `keras.saving.register_keras_serializable`, so that
    `keras.models.load_model` can load a model that was compiled with it.

    Args:
        begin_step: first step at which masks are refreshed, at least 0.
        end_step: last step at which masks are refreshed, or -1 for no end.
        frequency: number of steps between two refreshes, at least 1.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class LinearSparsity(PruningSchedule):
        ...     def __init__(self, final_sparsity, end_step, frequency=100):
        ...         super().__init__(0, end_step, frequency)
        ...         self.final_sparsity = final_sparsity
        ...
        ...     def __call__(self, step):
        ...         progress = ops.minimum(ops.cast(step, "float32") / self.end_step, 1.0)
        ...         return self.is_due(step), self.final_sparsity * progress
        ...
        ...     def get_config(self):
        ...         return {
        ...             "final_sparsity": self.final_sparsity,
        ...             "end_step": self.end_step,
        ...             "frequency": self.frequency,
        ...         }
        >>> schedule = LinearSparsity(0.8, end_step=1000)
        >>> due, sparsity = schedule(500)
        >>> bool(due), round(float(sparsity), 2)
        (True, 0.4)
    """

    def __init__(self, begin_step: int = 0, end_step: int = -1, frequency: int = 100):
        self.begin_step = integer("begin_step", begin_step, 0)
        self.end_step = integer("end_step", end_step, -1)
        self.frequency = integer("frequency", frequency, 1)
        if self.end_step != -1 and self.end_step < self.begin_step:
            raise ValueError(
                "`begin_step` and `end_step` must satisfy begin_step <= end_step, or end_step=-1 "
                f"for no end. Received: begin_step={begin_step}, end_step={end_step}"
            )

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether masks are refreshed at `step`, and to which sparsity.

        A subclass must implement this method.

        Args:
            step: number of the next batch, starting at 1; Python integer or integer scalar tensor.

        Returns:
            A boolean scalar, whether to refresh the masks, and a float scalar, the sparsity in
            [0, 1). For a tensor these are tensors; for a Python integer they may be numbers, so
            that eager training need not wait for the device.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__`.")

    def is_due(self, step: Any) -> Any:
        """Return whether `step` is `begin_step` plus a multiple of `frequency`, up to `end_step`.

        Args:
            step: Python integer or scalar tensor.

        Returns:
            A boolean: of NumPy for a Python integer, else a scalar tensor.
        """
        step = step if isinstance(step, int) else ops.convert_to_tensor(step)
        due = (step >= self.begin_step) & ((step - self.begin_step) % self.frequency == 0)
        if self.end_step >= 0:
            due = due & (step <= self.end_step)
        return np.bool_(due) if isinstance(step, int) else ops.convert_to_tensor(due, "bool")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningSchedule":
        """Create a schedule from the result of `get_config`."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_sac")
class ConstantSparsity(PruningSchedule):
    """Schedule with the same sparsity at each refresh.

    `s(t) = target_sparsity`

    Args:
        target_sparsity: fraction of weights to prune, in [0, 1).
        begin_step: first step at which masks are refreshed, at least 0.
        end_step: last step at which masks are refreshed. Defaults to -1, no end.
        frequency: number of steps between two refreshes, at least 1.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> due, sparsity = ConstantSparsity(0.5, begin_step=100, frequency=10)(120)
        >>> bool(due), float(sparsity)
        (True, 0.5)
    """

    def __init__(
        self, target_sparsity: float, begin_step: int, end_step: int = -1, frequency: int = 100
    ):
        super().__init__(begin_step, end_step, frequency)
        self.target_sparsity = fraction("target_sparsity", target_sparsity)

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether masks are refreshed at `step`, and `target_sparsity`."""
        sparsity = np.float32(self.target_sparsity)
        is_number = isinstance(step, int)
        return self.is_due(step), sparsity if is_number else ops.convert_to_tensor(sparsity)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"target_sparsity": self.target_sparsity, **super().get_config()}


@keras.saving.register_keras_serializable(package="keras_sac")
class PolynomialDecay(PruningSchedule):
    """Schedule whose sparsity rises fast at first, and slowly towards its final value.

    `s(t) = s_f + (s_i - s_f) (1 - (t - begin) / (end - begin)) ** power`

    Masks are also refreshed at `end_step`, so that `final_sparsity` is reached if `end - begin` is
    not a multiple of `frequency`. `tensorflow_model_optimization` does not do that.

    Args:
        initial_sparsity: fraction of weights to prune at `begin_step`, in [0, 1).
        final_sparsity: fraction of weights to prune from `end_step` on, in [0, 1).
        begin_step: first step at which masks are refreshed, at least 0.
        end_step: last such step, at least `begin_step`.
        power: exponent, above 0; 1 is a straight line.
        frequency: steps between two refreshes, at least 1.
        prune_at_end: refresh at `end_step` whatever the frequency; `False` refreshes at just the
            steps at which `tensorflow_model_optimization` does.

    Raises:
        ValueError: if an argument is out of range.

    Examples:
        >>> schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=2000)
        >>> [round(float(schedule(step)[1]), 4) for step in (0, 500, 1000, 2000)]
        [0.5, 0.6734, 0.7625, 0.8]

    Reference:
        Zhu and Gupta, "To prune, or not to prune", 2017, https://arxiv.org/abs/1710.01878
    """

    def __init__(
        self,
        initial_sparsity: float,
        final_sparsity: float,
        begin_step: int,
        end_step: int,
        power: float = 3,
        frequency: int = 100,
        *,
        prune_at_end: bool = True,
    ):
        if end_step == -1:
            raise ValueError(
                "`end_step` of `PolynomialDecay` must be the step of the final sparsity. "
                "Received: end_step=-1. For a schedule without an end use `ConstantSparsity`."
            )
        super().__init__(begin_step, end_step, frequency)
        self.initial_sparsity = fraction("initial_sparsity", initial_sparsity)
        self.final_sparsity = fraction("final_sparsity", final_sparsity)
        if isinstance(power, bool) or not isinstance(power, numbers.Real) or not power > 0:
            raise ValueError(f"`power` must be a number above 0. Received: power={power!r}")
        self.power = power
        self.prune_at_end = bool(prune_at_end)

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether masks are refreshed at `step`, and to which sparsity."""
        due = self.is_due(step)
        if isinstance(step, int):
            if self.prune_at_end:
                due = due | np.bool_(step == self.end_step)
            return due, np.float32(self._sparsity_at(np.float32(step - self.begin_step), np))
        step = ops.convert_to_tensor(step)
        if self.prune_at_end:
            due = ops.logical_or(due, ops.equal(step, self.end_step))
        sparsity = self._sparsity_at(ops.cast(step - self.begin_step, "float32"), ops)
        return due, ops.convert_to_tensor(sparsity, "float32")

    def _sparsity_at(self, elapsed: Any, xp: Any) -> Any:
        """Return the sparsity, in float32 on the host and on the device.

        Args:
            elapsed: steps since `begin_step`; float32 scalar.
            xp: `numpy` or `keras.ops`.
        """
        if self.end_step == self.begin_step:
            return self.final_sparsity
        progress = xp.clip(elapsed / (self.end_step - self.begin_step), 0.0, 1.0)
        excess = (self.initial_sparsity - self.final_sparsity) * xp.power(
            1.0 - progress, float(self.power)
        )
        return excess + self.final_sparsity

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "initial_sparsity": self.initial_sparsity,
            "final_sparsity": self.final_sparsity,
            **super().get_config(),
            "power": self.power,
            "prune_at_end": self.prune_at_end,
        }


def schedule_key(schedule: PruningSchedule | None) -> str:
    """Return a key that is equal for schedules that behave identically.

    Kernels with equal schedules are ranked together. Schedules are compared by their configuration,
    because targets that shared one schedule have separate copies after loading.
    """
    if schedule is None:
        return ""
    kind = type(schedule)
    if not issubclass(_defining_class(kind, "get_config"), _defining_class(kind, "__init__")):
        # `get_config` was inherited, so it lacks the arguments of the new constructor.
        return str(id(schedule))
    return f"{kind}{sorted(schedule.get_config().items())}"


def _defining_class(kind: type, method: str) -> type:
    return next(base for base in kind.__mro__ if method in vars(base))
