"""Decide which kernels are pruned, by which schedule and pattern."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_sac._model import Kernel, Selection, Selector, as_selections, select_kernels
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._schedules import PruningSchedule


@keras.saving.register_keras_serializable(package="keras_sac")
class Target(Selection):
    """Some of the kernels of a model, with a schedule or a pattern of their own.

    Args:
        select: what is pruned: a layer or model, a variable, the name of a layer, a regular
            expression that is searched for in `variable.path` (which may lack the name of the model
            in a loaded model), a callable from a variable to a boolean, or a list of those. Biases,
            scales of normalizations and depthwise kernels are left out unless the variable itself
            is given.
        schedule: a `PruningSchedule`; `None` takes the one of the optimizer.
        pattern: a `Pattern`; `None` takes the one of the optimizer.

    Raises:
        ValueError: if `select` is none of these, or an empty list.

    Examples:
        >>> from keras_sac.pruning import ConstantSparsity
        >>> target = Target("dense", schedule=ConstantSparsity(0.9, begin_step=1))
        >>> target.schedule.target_sparsity
        0.9
    """

    refused: ClassVar[tuple[type, ...]] = (type, PruningSchedule)

    def __init__(
        self,
        select: Selector | Sequence[Selector],
        schedule: PruningSchedule | None = None,
        pattern: Pattern | None = None,
    ):
        super().__init__(select)
        self.schedule = schedule
        self.pattern = pattern

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; selected variables by their place."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "schedule": serialize(self.schedule),
            "pattern": serialize(self.pattern),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class PrunedKernel:
    """A kernel that is pruned: by which schedule and pattern, and its mask once there is one.

    Attributes:
        kernel: the variable and its axes.
        schedule: when its mask is refreshed; `None` for a mask that never changes.
        pattern: which of its weights are pruned together.
        mask: boolean variable of the kernel's shape.
        state: variables of the criterion, by the names of its slots.
    """

    kernel: Kernel
    schedule: PruningSchedule | None
    pattern: Pattern
    mask: keras.Variable | None = None
    state: dict[str, keras.Variable] = dataclasses.field(default_factory=dict)

    @property
    def variable(self) -> keras.Variable:
        """The weights."""
        return self.kernel.variable


def as_targets(targets: Any) -> tuple[Target, ...] | None:
    """Return `targets=` of the optimizer as targets; `None`, for all kernels, stays `None`."""
    return as_selections(targets, Target)


def select_pruned(
    variables: Sequence[keras.Variable],
    targets: Sequence[Target] | None,
    schedule: PruningSchedule | None,
    pattern: Pattern,
    layers: Sequence[keras.layers.Layer] = (),
) -> tuple[list[PrunedKernel], dict[str, str]]:
    """Decide about each variable; of several targets that select it the first counts.

    Args:
        variables: the trainable variables of a model.
        targets: what is pruned; `None` for all kernels.
        schedule: for targets without one.
        pattern: for targets without one.
        layers: layers that hold the variables, where they are known.

    Returns:
        The pruned kernels, in the order of the variables; and the reason for each other path.

    Raises:
        ValueError: if a target selects nothing, or a pattern does not fit.
    """
    selected, skipped = select_kernels(variables, targets, layers, purpose="pruned")
    pruned = []
    for kernel, target in selected:
        own_schedule = target.schedule if target and target.schedule is not None else schedule
        own_pattern = target.pattern if target and target.pattern is not None else pattern
        own_pattern.check(kernel)
        pruned.append(PrunedKernel(kernel, own_schedule, own_pattern))
    return pruned, skipped
