"""Whatever is passed as a schedule, as a schedule of the pruning engine."""

from typing import Any

import keras
from keras import ops

from keras_sac import pruning
from keras_sac.tfmot._tfmot_schedules import ConstantSparsity, PolynomialDecay, arguments

_TFMOT = "tensorflow_model_optimization"


def adapted(schedule: Any) -> pruning.PruningSchedule:
    """Return a schedule that the engine can ask on every backend, and save.

    Args:
        schedule: one of this package or of tfmot itself, or any object that is called with the
            step, returns whether to prune and how sparse, and has a `get_config`.

    Returns:
        A schedule of `keras_sac.pruning`.

    Raises:
        ValueError: if it is no schedule, or one written for TensorFlow while Keras runs on another
            backend.
    """
    name, origin = type(schedule).__name__, _origin(schedule)
    if type(schedule) in (ConstantSparsity, PolynomialDecay) or (
        origin == "itself" and name in ("ConstantSparsity", "PolynomialDecay")
    ):
        return getattr(pruning, name)(**arguments(schedule.get_config()))
    if origin and keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"The schedule {name} is written for TensorFlow, but Keras runs on "
            f"{keras.backend.backend()}. Derive it from "
            "`keras_sac.tfmot.sparsity.keras.PruningSchedule` and use `keras.ops` in place of `tf`."
        )
    if isinstance(schedule, pruning.PruningSchedule) and not isinstance(
        schedule, ConstantSparsity | PolynomialDecay
    ):
        return schedule
    if not callable(schedule) or not hasattr(schedule, "get_config"):
        raise ValueError(
            "`pruning_schedule` must be a schedule, such as `PolynomialDecay(0.5, 0.8, "
            "begin_step=0, end_step=2000)`, or an object with `__call__(step)` and `get_config()`. "
            f"Received: pruning_schedule={schedule!r}"
        )
    return AdaptedSchedule(schedule)


def _origin(schedule: Any) -> str:
    modules = [kind.__module__.split(".")[0] for kind in type(schedule).__mro__]
    if modules[0] == _TFMOT:
        return "itself"
    return "derived" if _TFMOT in modules else ""


@keras.saving.register_keras_serializable(package="keras_sac.tfmot")
class AdaptedSchedule(pruning.PruningSchedule):
    """A schedule that somebody else wrote.

    Args:
        schedule: is called with the step; may return Python values.
    """

    def __init__(self, schedule: Any):
        # Its steps are its own affair; the end is read by what warns of trainings that stop early.
        self.end_step = getattr(schedule, "end_step", -1)
        self.schedule = schedule

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return what the schedule says, as tensors."""
        due, sparsity = self.schedule(step)
        return (
            ops.cast(ops.convert_to_tensor(due), "bool"),
            ops.cast(ops.convert_to_tensor(sparsity), "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the schedule, serialized."""
        serialized = dict(keras.saving.serialize_keras_object(self.schedule))
        return {"schedule": {**serialized, "config": arguments(serialized["config"])}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AdaptedSchedule":
        """Make a schedule from what `get_config` returned; its class must be known to Keras."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]))
