"""What is pruned: the choice among the variables of an optimizer, with a reason for each."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_sac._model import Kernel, Selection, Selector, as_selections, pick
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._schedules import PruningSchedule


@keras.saving.register_keras_serializable(package="keras_sac")
class Target(Selection):
    """Some of the variables of a model, with a schedule or a pattern of their own.

    Args:
        select: what is pruned: a layer (or model), a variable, a regular expression that is
            searched for in `variable.path` (which may lack the name of the model in a loaded one),
            a callable from a variable to a boolean, or a list of those. Biases, scales of
            normalisations and depthwise kernels are left out unless the variable itself is given.
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
        """Return the arguments of the constructor; what was picked by its place in the model."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "schedule": serialize(self.schedule),
            "pattern": serialize(self.pattern),
        }


@dataclasses.dataclass(frozen=True)
class Choice:
    """A variable that is pruned, and how."""

    variable: keras.Variable
    kernel: Kernel
    schedule: PruningSchedule | None
    pattern: Pattern


def as_targets(targets: Any) -> tuple[Target, ...] | None:
    """Return `targets=` of the optimizer as targets; `None` stays: whatever may be pruned."""
    return as_selections(targets, Target)


def choose(
    variables: Sequence[keras.Variable],
    targets: Sequence[Target] | None,
    schedule: PruningSchedule | None,
    pattern: Pattern,
    layers: Sequence[keras.layers.Layer] = (),
) -> tuple[list[Choice], dict[str, str]]:
    """Decide about each variable; of several targets that pick it the first counts.

    Args:
        variables: the trainable variables of a model.
        targets: what is pruned; `None` for all that is pruned by default.
        schedule: for targets without one.
        pattern: for targets without one.
        layers: layers that hold the variables, where they are known; those among the targets are.

    Returns:
        What is pruned, in the order of the variables; and the reason for each other path.

    Raises:
        ValueError: if a target picks nothing, or a pattern does not fit.
    """
    chosen, skipped = pick(variables, targets, layers, done="pruned")
    choices = []
    for picked in chosen:
        target = picked.selection
        own_schedule = target.schedule if target and target.schedule is not None else schedule
        own_pattern = target.pattern if target and target.pattern is not None else pattern
        own_pattern.check(picked.kernel)
        choices.append(Choice(picked.variable, picked.kernel, own_schedule, own_pattern))
    return choices, skipped
