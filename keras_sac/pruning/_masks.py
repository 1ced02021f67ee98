"""Create the masks of kernels, refresh them by their schedules, and apply them to the weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._optimizer import value_of
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._pruned_kernels import PrunedKernel
from keras_sac.pruning._schedules import schedule_key

# (name, reference variable, shape, dtype) -> a variable of zeros.
CreateVariable = Callable[[str, keras.Variable, tuple[int, ...], str], keras.Variable]


class Masks:
    """The masks of the pruned kernels of a model.

    A class, not a list: an optimizer would track the variables in a list as its own.

    Args:
        kernels: the kernels to prune.
        criterion: scores the weights.
        distribution: `"uniform"`, `"global"` or `"erk"`.
        create: creates the variables; called in the order in which they are saved.

    Raises:
        ValueError: if a slot of the criterion is too large, or weights that are needed now have no
            values yet. No variable is created then.
    """

    def __init__(
        self,
        kernels: Sequence[PrunedKernel],
        criterion: Criterion,
        distribution: str,
        create: CreateVariable,
    ):
        # Errors must be raised before the first variable is created.
        shapes = [
            {slot: criterion.slot_shape(slot, each.kernel.shape) for slot in criterion.slots}
            for each in kernels
        ]
        schedules = [each.schedule for each in kernels if each.schedule is not None]
        with _backend.eagerly():
            self._due_at_first_step = _any_due(schedules, 1)
            for each in kernels:
                if each.schedule is None or self._due_at_first_step:
                    _check_has_values(each.variable)
        self._criterion = criterion
        self._distribution = distribution
        self.kernels = [
            dataclasses.replace(
                each,
                mask=create("mask", each.variable, each.kernel.shape, "bool"),
                state={
                    slot: create(
                        slot,
                        each.variable,
                        shape,
                        criterion.slot_dtype(slot, _slot_dtype(each.variable)),
                    )
                    for slot, shape in slots.items()
                },
            )
            for each, slots in zip(kernels, shapes, strict=True)
        ]
        self._by_schedule = _grouped_by_schedule(self.kernels)

    @property
    def schedules(self) -> list[Any]:
        """The schedules in use, each once."""
        found = [kernels[0].schedule for kernels in self._by_schedule]
        return [schedule for schedule in found if schedule is not None]

    def is_due(self, step: int) -> bool:
        """Return whether a schedule refreshes its masks at `step`, a Python integer."""
        return _any_due(self.schedules, step)

    def begin(self) -> None:
        """Initialize masks and slots, and prune if a schedule refreshes at step 1."""
        for each in self.kernels:
            shape = each.kernel.shape
            if each.schedule is None:
                each.mask.assign(ops.convert_to_numpy(each.variable) != 0)
            else:
                each.mask.assign(np.ones(shape, "bool"))
            for slot, variable in each.state.items():
                value = self._criterion.initial_slot(slot, shape, each.kernel.index)
                # Assign zeros as well: a variable created inside a TensorFlow graph has no value.
                variable.assign(np.zeros(variable.shape) if value is None else value)
        # A Python condition: with `cond`, eager JAX would compile the refresh only to skip it.
        if self._due_at_first_step:
            self.advance(1, True)

    def observe(self, gradients: dict[int, Any]) -> None:
        """Update the criterion with gradients, given by the indices of the variables."""
        for each in self.kernels:
            gradient = gradients.get(each.kernel.index)
            if gradient is None:
                continue
            old = {slot: ops.convert_to_tensor(v) for slot, v in each.state.items()}
            dtype = _slot_dtype(each.variable)
            # The square of a float16 gradient may underflow to zero.
            weight, gradient = (ops.cast(t, dtype) for t in (value_of(each.variable), gradient))
            new = self._criterion.observe(weight, gradient, old)
            # One batch whose gradients overflow must not make the average non-finite for good.
            finite = [ops.where(ops.isfinite(new[slot]), new[slot], old[slot]) for slot in old]
            _backend.assign_all(list(each.state.values()), finite)

    def advance(self, step: Any, updated: Any) -> None:
        """Refresh the masks that are due at `step` if the weights were updated, and apply all.

        Args:
            step: number of the next batch; integer or scalar tensor. For an integer, schedules are
                asked on the host, and the device is not waited for.
            updated: whether the optimizer has just updated the weights; boolean or scalar tensor.
        """
        for kernels in self._by_schedule:
            schedule = kernels[0].schedule
            if schedule is None:
                continue
            if isinstance(step, int):
                due, sparsity = _asked(schedule, step)
                if due and updated:
                    self._assign(kernels, self._refreshed(kernels, sparsity))
                continue
            due, sparsity = schedule(step)
            self._assign(
                kernels,
                _backend.cond(
                    ops.logical_and(due, updated),
                    lambda k=kernels, s=sparsity: self._refreshed(k, s),
                    lambda k=kernels: self._present(k),
                ),
            )
        self.apply()

    def refresh(self, step: int) -> None:
        """Refresh the masks that are due before the batch with the number `step`, and apply all."""
        # Tested in Python, because JAX compiles an eager `cond` at each call.
        if self.is_due(step):
            self.advance(step, True)
        else:
            self.apply()

    def apply_unless_due(self, step: Any) -> None:
        """Apply the masks that no schedule refreshes at `step`.

        The others wait for a refresh, which needs the weights as the optimizer has left them.
        """
        kept, kernels = [], []
        for group in self._by_schedule:
            schedule = group[0].schedule
            masks = [ops.convert_to_tensor(each.mask) for each in group]
            if schedule is not None and isinstance(step, int):
                if _asked(schedule, step)[0]:
                    continue
            elif schedule is not None:
                due = schedule(step)[0]
                masks = [ops.logical_or(mask, due) for mask in masks]
            kernels += group
            kept += masks
        _backend.mask_all([each.variable for each in kernels], kept)

    def apply(self) -> None:
        """Set the masked weights to zero."""
        self.apply_to([each.variable for each in self.kernels])

    def apply_to(self, variables: Sequence[keras.Variable]) -> None:
        """Set the masked entries of other variables to zero, one variable for each kernel."""
        _backend.mask_all(variables, [ops.convert_to_tensor(k.mask) for k in self.kernels])

    def _refreshed(self, kernels: Sequence[PrunedKernel], sparsity: Any) -> list[Any]:
        """Return the new masks, and the corrected weights if the criterion corrects."""
        states = [{s: ops.convert_to_tensor(v) for s, v in k.state.items()} for k in kernels]
        values = [value_of(each.variable) for each in kernels]
        weights = [
            ops.cast(v, _slot_dtype(k.variable)) for v, k in zip(values, kernels, strict=True)
        ]
        new = masks_for(
            [
                # NaN weights are kept: a mask must not hide that the training diverged.
                ops.where(ops.isnan(w), float("inf"), self._criterion.ranking(w, s))
                for w, s in zip(weights, states, strict=True)
            ],
            [each.kernel for each in kernels],
            [each.pattern for each in kernels],
            ops.cast(sparsity, "float32"),
            self._distribution,
        )
        if not self._criterion.corrects:
            return new
        return new + [
            ops.where(ops.isnan(v), v, ops.cast(self._criterion.correct(w, mask, s), v.dtype))
            for v, w, mask, s in zip(values, weights, new, states, strict=True)
        ]

    def _present(self, kernels: Sequence[PrunedKernel]) -> list[Any]:
        """Return what `_refreshed` does, unchanged."""
        masks = [ops.convert_to_tensor(each.mask) for each in kernels]
        corrects = self._criterion.corrects
        return masks + [value_of(each.variable) for each in kernels if corrects]

    def _assign(self, kernels: Sequence[PrunedKernel], new: list[Any]) -> None:
        """Assign the masks, and the weights if the criterion corrects them."""
        variables = [each.mask for each in kernels]
        if self._criterion.corrects:
            variables += [each.variable for each in kernels]
        _backend.assign_all(variables, new)


def _asked(schedule: Any, step: int) -> tuple[bool, float]:
    """Ask a schedule about a step, on the host."""
    with _backend.on_cpu():
        due, sparsity = schedule(step)
        return bool(due), float(sparsity)


def _any_due(schedules: Sequence[Any], step: int) -> bool:
    """Return whether one of the schedules refreshes its masks at `step`, a Python integer."""
    return any(_asked(schedule, step)[0] for schedule in schedules)


def _check_has_values(variable: keras.Variable) -> None:
    if ops.convert_to_numpy(variable).shape != tuple(variable.shape):
        # TensorFlow builds a model without `keras.Input` inside the graph of the first step.
        raise ValueError(
            f"The weights must have values to be pruned before the first batch. Received: "
            f"{variable.path!r}, which has no values yet. Build the model before `fit`: start it "
            "with `keras.Input`, call `model.build(input_shape)`, or call the model on a batch. Or "
            "use a schedule with a later `begin_step`."
        )


def _slot_dtype(variable: keras.Variable) -> str:
    return "float64" if variable.dtype == "float64" else "float32"


def _grouped_by_schedule(kernels: list[PrunedKernel]) -> list[list[PrunedKernel]]:
    groups: dict[str, list[PrunedKernel]] = {}
    for each in kernels:
        groups.setdefault(schedule_key(each.schedule), []).append(each)
    return list(groups.values())
