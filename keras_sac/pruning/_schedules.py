"""When weights are pruned, and how many: the sparsity asked for at each step."""

import numbers
from typing import Any

import keras
from keras import ops

from keras_sac._arguments import fraction, integer


@keras.saving.register_keras_serializable(package="keras_sac")
class PruningSchedule:
    """Base class of the schedules: says at which steps masks are refreshed, and how sparse.

    A subclass implements `__call__` and `get_config`. `step` counts from 1 and may be a tensor of a
    compiled step, so `__call__` is written with `keras.ops`.

    Args:
        begin_step: first step at which masks are refreshed, at least 0.
        end_step: last such step, or -1 for a schedule that goes on for ever.
        frequency: steps between two refreshes, at least 1.

    Raises:
        ValueError: if a step or the frequency is out of range.

    Examples:
        >>> class Linear(PruningSchedule):
        ...     def __call__(self, step):
        ...         share = ops.cast(step, "float32") / self.end_step
        ...         return self.is_due(step), ops.minimum(share, 0.9)
        >>> due, sparsity = Linear(begin_step=0, end_step=1000, frequency=10)(500)
        >>> bool(due), round(float(sparsity), 2)
        (True, 0.5)
    """

    def __init__(self, begin_step: int = 0, end_step: int = -1, frequency: int = 100):
        self.begin_step = integer("begin_step", begin_step, 0)
        self.end_step = integer("end_step", end_step, -1)
        self.frequency = integer("frequency", frequency, 1)
        if self.end_step != -1 and self.end_step < self.begin_step:
            raise ValueError(
                "A schedule must not end before it begins. Received: "
                f"begin_step={begin_step}, end_step={end_step}; expected begin_step <= end_step, "
                "or end_step=-1 for one that goes on for ever."
            )

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether masks are refreshed at `step`, and the sparsity they then have.

        Args:
            step: the number of the batch about to be trained on, from 1; integer or scalar tensor.

        Returns:
            A boolean scalar tensor and a float scalar tensor in [0, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__`.")

    def is_due(self, step: Any) -> Any:
        """Return whether `step` is one of begin, begin + frequency, ... up to the end.

        Args:
            step: integer or scalar tensor.

        Returns:
            A boolean scalar tensor.
        """
        # Operators, not `keras.ops`: with a number for a step nothing but the answer is a tensor.
        step = step if isinstance(step, int) else ops.convert_to_tensor(step)
        due = (step >= self.begin_step) & ((step - self.begin_step) % self.frequency == 0)
        if self.end_step >= 0:
            due = due & (step <= self.end_step)
        return ops.convert_to_tensor(due, "bool")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {
            "begin_step": self.begin_step,
            "end_step": self.end_step,
            "frequency": self.frequency,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PruningSchedule":
        """Make a schedule from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


@keras.saving.register_keras_serializable(package="keras_sac")
class ConstantSparsity(PruningSchedule):
    """The same sparsity at each refresh.

    `s(t) = target_sparsity`

    Args:
        target_sparsity: share of weights that are zero, in [0, 1).
        begin_step: first step at which masks are refreshed, at least 0.
        end_step: last such step; -1, the default, refreshes for ever.
        frequency: steps between two refreshes, at least 1.

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
        return self.is_due(step), ops.convert_to_tensor(self.target_sparsity, "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {"target_sparsity": self.target_sparsity, **super().get_config()}


@keras.saving.register_keras_serializable(package="keras_sac")
class PolynomialDecay(PruningSchedule):
    """Sparsity that grows fast at first and slowly towards its final value.

    `s(t) = s_f + (s_i - s_f) (1 - (t - begin) / (end - begin)) ** power`

    `tensorflow_model_optimization` never reaches `final_sparsity` where `end - begin` is no
    multiple of `frequency`; this schedule also refreshes at `end_step`.

    Args:
        initial_sparsity: share of weights that are zero at `begin_step`, in [0, 1).
        final_sparsity: share of weights that are zero from `end_step` on, in [0, 1).
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
                "`PolynomialDecay` needs an `end_step`, at which the final sparsity is reached. "
                "Received: end_step=-1. For a schedule without end use `ConstantSparsity`."
            )
        super().__init__(begin_step, end_step, frequency)
        self.initial_sparsity = fraction("initial_sparsity", initial_sparsity)
        self.final_sparsity = fraction("final_sparsity", final_sparsity)
        if isinstance(power, bool) or not isinstance(power, numbers.Real) or not power > 0:
            raise ValueError(f"`power` must be a number above 0. Received: power={power!r}")
        self.power = power
        self.prune_at_end = bool(prune_at_end)

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return whether masks are refreshed at `step`, and the sparsity they then have."""
        due = self.is_due(step)
        step = ops.convert_to_tensor(step)
        if self.prune_at_end:
            due = ops.logical_or(due, ops.equal(step, self.end_step))
        if self.end_step == self.begin_step:
            return due, ops.convert_to_tensor(self.final_sparsity, "float32")
        elapsed = ops.cast(step - self.begin_step, "float32")
        progress = ops.clip(elapsed / (self.end_step - self.begin_step), 0.0, 1.0)
        excess = (self.initial_sparsity - self.final_sparsity) * ops.power(
            1.0 - progress, float(self.power)
        )
        return due, excess + self.final_sparsity

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

    By value where that is known: layers given one schedule come back from a file with one each.
    """
    if schedule is None:
        return ""
    made, told = (_definer(type(schedule), name) for name in ("__init__", "get_config"))
    if not issubclass(told, made):
        # More goes into it than it tells.
        return str(id(schedule))
    return f"{type(schedule)}{sorted(schedule.get_config().items())}"


def _definer(kind: type, name: str) -> type:
    return next(each for each in kind.__mro__ if name in vars(each))
