"""The masks of a model: when they are refreshed, and how they are put on the weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._optimizer import value_of
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._distribution import masks as masks_in_scope
from keras_sac.pruning._pruned_kernels import Choice
from keras_sac.pruning._schedules import identity

# (name, reference variable, shape, dtype) -> a variable of zeros.
VariableMaker = Callable[[str, keras.Variable, tuple[int, ...], str], keras.Variable]


@dataclasses.dataclass(frozen=True)
class Member:
    """A pruned variable with its mask and what the criterion remembers of it."""

    choice: Choice
    mask: keras.Variable
    state: dict[str, keras.Variable]

    @property
    def variable(self) -> keras.Variable:
        """The weights."""
        return self.choice.variable


class Masks:
    """Masks for some variables. Not a list, in which an optimizer would track what it holds.

    Args:
        choices: what is pruned, and how.
        criterion: gives the scores.
        scope: `"layer"`, `"global"` or `"erk"`.
        make: makes the variables, in the order in which they are to be saved.

    Raises:
        ValueError: if the criterion cannot remember what it has to, or weights are needed that
            have no values yet; nothing is made then.
    """

    def __init__(
        self, choices: Sequence[Choice], criterion: Criterion, scope: str, make: VariableMaker
    ):
        # Errors must come before the first variable is made.
        shapes = [
            {s: criterion.slot_shape(s, c.kernel.shape) for s in criterion.slots} for c in choices
        ]
        schedules = [choice.schedule for choice in choices if choice.schedule is not None]
        with _backend.eagerly():
            self._due_at_once = _any_due(schedules, 1)
            for choice in choices:
                if choice.schedule is None or self._due_at_once:
                    _check_has_values(choice.variable)
        self._criterion = criterion
        self._scope = scope
        self.members = [
            Member(
                choice=choice,
                mask=make("mask", choice.variable, choice.kernel.shape, "bool"),
                state={
                    slot: make(slot, choice.variable, shape, _slot_dtype(choice.variable))
                    for slot, shape in slots.items()
                },
            )
            for choice, slots in zip(choices, shapes, strict=True)
        ]
        self._by_schedule = _grouped(self.members)

    @property
    def schedules(self) -> list[Any]:
        """The schedules of the members, each once; those without one are left out."""
        found = [members[0].choice.schedule for members in self._by_schedule]
        return [schedule for schedule in found if schedule is not None]

    def is_due(self, step: int) -> bool:
        """Return whether a schedule asks for new masks at `step`, which is known."""
        return _any_due(self.schedules, step)

    def begin(self) -> None:
        """Give masks and slots their first values; prune if a schedule asks for it at step 1."""
        for member in self.members:
            shape = member.choice.kernel.shape
            if member.choice.schedule is None:
                member.mask.assign(ops.convert_to_numpy(member.variable) != 0)
            else:
                member.mask.assign(np.ones(shape, "bool"))
            for slot, variable in member.state.items():
                value = self._criterion.initial_slot(slot, shape, member.choice.kernel.index)
                # Zeros too: what TensorFlow makes inside a graph has no value of its own yet.
                variable.assign(np.zeros(variable.shape) if value is None else value)
        # Asked here, not in a branch: an eager JAX would compile the refresh only to skip it.
        if self._due_at_once:
            self.advance(1, True)

    def observe(self, gradients: dict[int, Any]) -> None:
        """Let the criterion see the gradients, by the indices of the variables."""
        for member in self.members:
            gradient = gradients.get(member.choice.kernel.index)
            if gradient is None:
                continue
            old = {slot: ops.convert_to_tensor(v) for slot, v in member.state.items()}
            dtype = _slot_dtype(member.variable)
            # In half precision a squared gradient is zero.
            weight, gradient = (ops.cast(t, dtype) for t in (value_of(member.variable), gradient))
            new = self._criterion.observe(weight, gradient, old)
            # A batch whose gradients overflowed must not spoil the average for ever.
            sound = {s: ops.where(ops.isfinite(new[s]), new[s], old[s]) for s in old}
            _backend.assign_all(list(member.state.values()), list(sound.values()))

    def advance(self, step: Any, updated: Any) -> None:
        """Refresh the masks that are due at `step` if the weights were updated, and put them on.

        Args:
            step: the number of the batch that comes next; integer or scalar tensor.
            updated: whether the optimizer has just changed the weights; boolean, or scalar tensor.
        """
        step = _backend.counted(step)
        for members in self._by_schedule:
            schedule = members[0].choice.schedule
            if schedule is None:
                continue
            due, sparsity = schedule(step)
            old = [ops.convert_to_tensor(member.mask) for member in members]
            weights = [value_of(member.variable) for member in members]
            new = _backend.cond(
                ops.logical_and(due, updated),
                lambda m=members, w=weights, s=sparsity: self._refreshed(m, w, s),
                lambda o=old, w=weights: o + w if self._criterion.corrects else o,
            )
            # An eager backend hands back the tensors themselves where nothing was due.
            changed = [i for i, mask in enumerate(old) if new[i] is not mask]
            _backend.assign_all([members[i].mask for i in changed], [new[i] for i in changed])
            if self._criterion.corrects:
                _backend.assign_all([m.variable for m in members], new[len(old) :])
        self.apply()

    def apply(self) -> None:
        """Set the weights to zero that the masks leave out."""
        self.put_on([member.variable for member in self.members])

    def put_on(self, variables: Sequence[keras.Variable]) -> None:
        """Set to zero what the masks leave out of variables that correspond to the members."""
        _backend.mask_all(variables, [ops.convert_to_tensor(m.mask) for m in self.members])

    def _refreshed(self, members: Sequence[Member], weights: list[Any], sparsity: Any) -> list[Any]:
        states = [{s: ops.convert_to_tensor(v) for s, v in m.state.items()} for m in members]
        own = [w.dtype for w in weights]
        weights = [
            ops.cast(w, _slot_dtype(m.variable)) for w, m in zip(weights, members, strict=True)
        ]
        new = masks_in_scope(
            [self._criterion.ranking(w, s) for w, s in zip(weights, states, strict=True)],
            [member.choice.kernel for member in members],
            [member.choice.pattern for member in members],
            ops.cast(sparsity, "float32"),
            self._scope,
        )
        if not self._criterion.corrects:
            return new
        return new + [
            ops.cast(self._criterion.correct(w, mask, s), dtype)
            for w, mask, s, dtype in zip(weights, new, states, own, strict=True)
        ]


def _any_due(schedules: Sequence[Any], step: int) -> bool:
    """Return whether one of the schedules asks for new masks at `step`, which is known."""
    return any(bool(ops.convert_to_numpy(schedule(step)[0])) for schedule in schedules)


def _check_has_values(variable: keras.Variable) -> None:
    if ops.convert_to_numpy(variable).shape != tuple(variable.shape):
        # TensorFlow, where the model itself is first built inside the graph of the step.
        raise ValueError(
            f"The weights {variable.path!r} have no values yet, but masks are due before the first "
            "batch. Build the model before `fit`: begin it with `keras.Input`, call "
            "`model.build(input_shape)`, or call it on a batch. Or let the schedule begin later."
        )


def _slot_dtype(variable: keras.Variable) -> str:
    return "float64" if variable.dtype == "float64" else "float32"


def _grouped(members: list[Member]) -> list[list[Member]]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(identity(member.choice.schedule), []).append(member)
    return list(groups.values())
