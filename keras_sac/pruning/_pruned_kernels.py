"""Decide which kernels are pruned, and with which schedule and pattern."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_sac._model import Kernel, Selection, Selector, as_selections, select_kernels
from keras_sac.pruning._patterns import Pattern, Unstructured
from keras_sac.pruning._schedules import PruningSchedule


@keras.saving.register_keras_serializable(package="keras_sac")
class Target(Selection):
    """Some of the kernels of a model, with their own schedule or sparsity pattern.

    Args:
        select: the kernels to prune: a layer or model, a variable, the name of a layer, a regular
            expression searched for in `variable.path` (the path in a loaded model may lack the name
            of the model), a callable from a variable to a boolean, or a list of those. Biases,
            scales of normalization layers and depthwise kernels are not selected, unless the
            variable itself is given.
        schedule: a `PruningSchedule`. Defaults to the schedule of the optimizer.
        pattern: a `Pattern`. Defaults to the pattern of the optimizer.

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

    def __repr__(self) -> str:
        shown = ", ".join(
            getattr(s, "path", None) or getattr(s, "name", None) or repr(s) for s in self.selectors
        )
        return f"Target({shown}, schedule={self.schedule}, pattern={self.pattern})"

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, with selected variables by their place."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "schedule": serialize(self.schedule),
            "pattern": serialize(self.pattern),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class PrunedKernel:
    """A kernel to prune: its schedule, its pattern and, once created, its mask.

    Attributes:
        kernel: the variable and its axes.
        schedule: when the mask is refreshed; `None` if the mask never changes.
        pattern: which weights of the kernel are pruned together.
        mask: boolean `keras.Variable` with the shape of the kernel, true for kept weights; `None`
            until `Masks` creates it.
        state: the variables of the criterion, by the names of its slots.
    """

    kernel: Kernel
    schedule: PruningSchedule | None
    pattern: Pattern
    # Any, not Optional: type checkers cannot know that `Masks` has created the variable.
    mask: Any = None
    state: dict[str, keras.Variable] = dataclasses.field(default_factory=dict)

    @property
    def variable(self) -> keras.Variable:
        """The variable to prune."""
        return self.kernel.variable


def as_targets(targets: Any) -> tuple[Target, ...] | None:
    """Convert the `targets=` argument to `Target`s; return `None`, for all kernels, as it is."""
    return as_selections(targets, Target)


def select_pruned(
    variables: Sequence[keras.Variable],
    targets: Sequence[Target] | None,
    schedule: PruningSchedule | None,
    pattern: Pattern,
    layers: Sequence[keras.layers.Layer] = (),
) -> tuple[list[PrunedKernel], dict[str, str]]:
    """Select the kernels to prune. If several targets select a kernel, the first one is used.

    Args:
        variables: the trainable variables of a model.
        targets: the targets; `None` for all kernels.
        schedule: the schedule of targets without their own.
        pattern: the pattern of targets without their own.
        layers: the layers that own the variables, if they are known.

    Returns:
        The kernels to prune, in the order of the variables; and a dict from the path of each other
        variable to the reason it was skipped.

    Raises:
        ValueError: if a target selects nothing, or a pattern does not fit a kernel.
    """
    selected, skipped = select_kernels(variables, targets, layers, purpose="pruned")
    pruned = []
    for kernel, target in selected:
        own_schedule = target.schedule if target and target.schedule is not None else schedule
        own_pattern = target.pattern if target and target.pattern is not None else pattern
        own_pattern.check(kernel)
        pruned.append(PrunedKernel(kernel, own_schedule, own_pattern))
    _warn_of_guesses(pruned)
    return pruned, skipped


def _warn_of_guesses(pruned: Sequence[PrunedKernel]) -> None:
    guessed = [
        f"{each.kernel.path} {each.kernel.shape} (filters along axis {each.kernel.output_axis})"
        for each in pruned
        if each.kernel.is_guessed and not isinstance(each.pattern, Unstructured)
    ]
    if guessed:
        warnings.warn(
            "An optimizer does not see layers, and nothing tells which axes of these kernels are "
            f"filters and inputs: {', '.join(guessed)}. Pass the layers as `targets=`, which "
            "decides it by their classes.",
            stacklevel=4,
        )
