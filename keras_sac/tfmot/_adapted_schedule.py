"""Convert `pruning_schedule=` to a schedule of `keras_sac.pruning`."""

from typing import Any

import keras
from keras import ops

from keras_sac import pruning
from keras_sac.tfmot._tfmot_schedules import ConstantSparsity, PolynomialDecay, arguments

_TFMOT = "tensorflow_model_optimization"


def adapted(schedule: Any) -> pruning.PruningSchedule:
    """Convert a schedule to one that runs on every backend and can be saved.

    Args:
        schedule: a schedule of this package or of tfmot itself, or any object with
            `__call__(step) -> (prune, sparsity)` and `get_config()`.

    Returns:
        A schedule of `keras_sac.pruning`.

    Raises:
        ValueError: if `schedule` is not a schedule, or is written for TensorFlow while Keras runs
            on another backend.
    """
    name, origin = type(schedule).__name__, _origin(schedule)
    if type(schedule) in (ConstantSparsity, PolynomialDecay) or (
        origin == "itself" and name in ("ConstantSparsity", "PolynomialDecay")
    ):
        return getattr(pruning, name)(**arguments(schedule.get_config()))
    if origin and keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"`pruning_schedule` must run on the backend of Keras. Received: {name}, which is "
            f"written for TensorFlow, with the backend {keras.backend.backend()}. Derive it from "
            "`keras_sac.tfmot.sparsity.keras.PruningSchedule` and use `keras.ops` instead of `tf`."
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
    """A schedule of `keras_sac.pruning` around a custom schedule.

    Args:
        schedule: called with the step; may return Python values.
    """

    def __init__(self, schedule: Any):
        # The custom schedule has its own steps; `end_step` is only read to warn of trainings that
        # stop before it.
        self.end_step = getattr(schedule, "end_step", -1)
        self.schedule = schedule

    def __call__(self, step: Any) -> tuple[Any, Any]:
        """Return the result of the custom schedule as tensors."""
        due, sparsity = self.schedule(step)
        return (
            ops.cast(ops.convert_to_tensor(due), "bool"),
            ops.cast(ops.convert_to_tensor(sparsity), "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the serialized custom schedule."""
        serialized = dict(keras.saving.serialize_keras_object(self.schedule))
        return {"schedule": {**serialized, "config": arguments(serialized["config"])}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "AdaptedSchedule":
        """Create a schedule from a configuration. Its class must be registered with Keras."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]))
