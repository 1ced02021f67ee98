"""What is pruned: the choice among the variables of an optimizer, with a reason for each."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sac.pruning._kernels import Kernel, describe
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._places import found, is_path, place
from keras_sac.pruning._schedules import PruningSchedule

Selector = keras.layers.Layer | keras.Variable | str | Callable[[keras.Variable], bool] | dict


@keras.saving.register_keras_serializable(package="keras_sac")
class Target:
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

    def __init__(
        self,
        select: Selector | Sequence[Selector],
        schedule: PruningSchedule | None = None,
        pattern: Pattern | None = None,
    ):
        selectors = tuple(select) if isinstance(select, list | tuple) else (select,)
        if not selectors:
            raise ValueError("A target needs at least one selector. Received an empty list.")
        for selector in selectors:
            _check_selector(selector)
        self.selectors = selectors
        self.schedule = schedule
        self.pattern = pattern
        self._at_places: set[int] = set()
        self._picked: list[list[Any]] = []

    def meet(self, kernels: Sequence[Kernel]) -> None:
        """Look at all variables, before it is asked about each."""
        self._picked = []
        self._at_places = set()
        for selector in self.selectors:
            if isinstance(selector, dict) and "places" in selector:
                self._at_places |= found(selector["places"], kernels)

    def picks(self, variable: keras.Variable, kernel: Kernel) -> bool:
        """Return whether one of the selectors names the variable."""
        return kernel.index in self._at_places or any(
            _picks(selector, variable, kernel) for selector in self.selectors
        )

    def take(self, kernel: Kernel) -> None:
        """Remember a variable that it picked, and no target before it."""
        self._picked.append(place(kernel.index, kernel.path, kernel.shape))

    def layers(self) -> list[keras.layers.Layer]:
        """Return the layers among the selectors."""
        return [s for s in self.selectors if isinstance(s, keras.layers.Layer)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; what was picked by its place in the model."""
        serialize = keras.saving.serialize_keras_object
        if self._picked and not all(isinstance(selector, str) for selector in self.selectors):
            # Not the function: what it chose is certain, and a lambda would not load safely.
            select: list[Any] = [{"places": self._picked}]
        else:
            select = [_portable(selector) for selector in self.selectors]
        return {
            "select": select,
            "schedule": serialize(self.schedule),
            "pattern": serialize(self.pattern),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Target":
        """Make a target from what `get_config` returned."""
        restore = keras.saving.deserialize_keras_object
        select = [
            restore(s) if isinstance(s, dict) and "class_name" in s else s for s in config["select"]
        ]
        return cls(select, restore(config["schedule"]), restore(config["pattern"]))


@dataclasses.dataclass(frozen=True)
class Choice:
    """A variable that is pruned, and how."""

    variable: keras.Variable
    kernel: Kernel
    schedule: PruningSchedule | None
    pattern: Pattern


def as_targets(targets: Any) -> tuple[Target, ...] | None:
    """Return `targets=` of the optimizer as targets; `None` stays: whatever may be pruned."""
    if targets is None:
        return None
    if isinstance(targets, Target):
        return (targets,)
    if isinstance(targets, list | tuple):
        if not targets:
            raise ValueError(
                "`targets=[]` would prune nothing. Leave `targets` out to prune all kernels."
            )
        return tuple(t if isinstance(t, Target) else Target(t) for t in targets)
    return (Target(targets),)


def choose(
    variables: Sequence[keras.Variable],
    targets: tuple[Target, ...] | None,
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
    named = [layer for target in targets or () for layer in target.layers()]
    kernels = describe(variables, [*layers, *named])
    chosen: list[Choice] = []
    skipped: dict[str, str] = {}
    used: set[int] = set()
    for target in targets or ():
        target.meet(kernels)
    for variable, kernel in zip(variables, kernels, strict=True):
        target = None
        if targets is None:
            reason = kernel.obstacle
        else:
            target = next((t for t in targets if t.picks(variable, kernel)), None)
            if target is not None:
                target.take(kernel)
            reason = None if target else "not among the targets"
            reason = reason if kernel.obstacle is None or target else kernel.obstacle
        if reason is not None:
            skipped[kernel.path] = reason
            continue
        used.add(id(target))
        own_schedule = target.schedule if target and target.schedule is not None else schedule
        own_pattern = target.pattern if target and target.pattern is not None else pattern
        own_pattern.check(kernel)
        chosen.append(Choice(variable, kernel, own_schedule, own_pattern))
    unused = [target for target in targets or () if id(target) not in used]
    if unused or not chosen:
        raise ValueError(_nothing_matched(unused, kernels, skipped))
    return chosen, skipped


def _nothing_matched(unused: list[Target], kernels: list[Kernel], skipped: dict[str, str]) -> str:
    what = (
        f"`targets` match nothing that can be pruned: {[t.selectors for t in unused]}."
        if unused
        else "Nothing can be pruned."
    )
    seen = "; ".join(
        f"{k.path} {k.shape}: {skipped.get(k.path, 'picked by another target')}" for k in kernels
    )
    return (
        f"{what} Received the variables: {seen}. To prune a variable all the same, name it itself."
    )


def _check_selector(selector: Any) -> None:
    if isinstance(selector, str):
        try:
            re.compile(selector)
        except re.error as error:
            raise ValueError(
                f"A target given as text is a regular expression. Received: {selector!r} ({error})"
            ) from error
        return
    known = isinstance(selector, keras.layers.Layer | keras.Variable) or (
        isinstance(selector, dict)
        and len(selector) == 1
        and set(selector) <= {"layer", "variable", "places"}
    )
    function = callable(selector) and not isinstance(selector, type | PruningSchedule)
    if not known and not function:
        raise ValueError(
            "A target is a layer, a variable, a regular expression on the path, a callable, or a "
            f"list of those. Received: {selector!r} of type {type(selector).__name__}"
        )


def _picks(selector: Any, variable: keras.Variable, kernel: Kernel) -> bool:
    if isinstance(selector, keras.Variable):
        return selector is variable
    if isinstance(selector, dict) and "variable" in selector:
        return is_path(selector["variable"], kernel.path)
    if kernel.unsuited or (isinstance(selector, dict) and "places" in selector):
        return False
    if isinstance(selector, keras.layers.Layer):
        return any(own is variable for own in selector.variables)
    if isinstance(selector, dict):
        return any(is_path(saved, kernel.path) for saved in selector["layer"])
    if isinstance(selector, str):
        return re.search(selector, kernel.path) is not None
    return bool(selector(variable))


def _portable(selector: Any) -> Any:
    if isinstance(selector, keras.Variable):
        return {"variable": selector.path}
    if isinstance(selector, keras.layers.Layer):
        # Not the path of the layer: a variable of a nested layer need not begin with it.
        return {"layer": [variable.path for variable in selector.variables]}
    if isinstance(selector, str | dict):
        return selector
    return keras.saving.serialize_keras_object(selector)
