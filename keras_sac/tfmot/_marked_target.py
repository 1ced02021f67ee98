"""Marks, as targets of the pruning optimizer."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import Kernel, describe, places_of, restored
from keras_sac.pruning import schedule_key
from keras_sac.tfmot._marks import Mark, Marked, check, mark_of, marked_layers


def targets_of(model: keras.Model) -> list["MarkedTarget"]:
    """Return one target for each way in which layers of the model are marked.

    Raises:
        ValueError: if nothing in the model is marked, or only layers without weights to prune.
    """
    marked = marked_layers(model)
    groups: dict[str, list[Mark]] = {}
    for mark in {each.mark: None for each in marked}:
        groups.setdefault(_way(mark), []).append(mark)
    targets = [
        MarkedTarget(marks[0].schedule, marks[0].pattern, model=model, marks=marks)
        for marks in groups.values()
        if _may_match(marked, marks)
    ]
    if not targets:
        raise ValueError(
            "`prune_low_magnitude` was called on no layer of this model that has weights to prune. "
            f"Received: {model.name!r} with the layers {[each.name for each in model.layers]}"
        )
    return targets


def _way(mark: Mark) -> str:
    # Layers marked alike one by one must not become targets that are checked one by one: a layer
    # without weights would be a target that matches nothing.
    return str((schedule_key(mark.schedule), type(mark.pattern), mark.pattern.get_config()))


def _may_match(marked: Sequence[Marked], marks: list[Mark]) -> bool:
    # What is not built may get weights yet.
    mine = [each for each in marked if each.mark in marks]
    return any(each.variables or not each.layer.built for each in mine)


@keras.saving.register_keras_serializable(package="keras_sac.tfmot")
class MarkedTarget(pruning.Target):
    """The variables of a model that some marks lead to, which need not exist yet.

    Marks are not saved: from a file it picks the variables at the same places in the model. Their
    paths may be others by then.

    Args:
        schedule: of the engine.
        pattern: of the engine.
        model: that holds marked layers; `None` if it comes from a file.
        marks: with that schedule and pattern.
        places: without a model, the places of the variables; `None` for all kernels.
    """

    def __init__(
        self,
        schedule: pruning.PruningSchedule,
        pattern: pruning.Pattern,
        *,
        model: keras.Model | None = None,
        marks: Sequence[Mark] = (),
        places: Sequence[Any] | None = None,
    ):
        # The base class needs a selector; `resolve` does not use it.
        super().__init__(".", schedule, pattern)
        self._model = model
        self._marks = list(marks)
        self._from_file = places
        self._found: set[int] | None = None

    def resolve(self, kernels: Sequence[Kernel]) -> set[int]:
        """Return the indices of the marked variables, or of those that were when it was saved."""
        if self._model is not None:
            marked = self._marked(self._model)
            return {kernel.index for kernel in kernels if id(kernel.variable) in marked}
        if self._from_file is None:
            return {kernel.index for kernel in kernels if kernel.skip_reason is None}
        return restored(self._from_file, kernels)

    def layers(self) -> list[keras.layers.Layer]:
        """Return the model, which knows what kind of kernel each variable is."""
        return [] if self._model is None else [self._model]

    def get_config(self) -> dict[str, Any]:
        """Return the schedule, the pattern, and the places of the variables in the model."""
        serialize = keras.saving.serialize_keras_object
        return {
            "schedule": serialize(self.schedule),
            "pattern": serialize(self.pattern),
            "places": self._from_file if self._model is None else self._places(self._model),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MarkedTarget":
        """Make a target that picks by the places of the variables."""
        restore = keras.saving.deserialize_keras_object
        return cls(restore(config["schedule"]), restore(config["pattern"]), places=config["places"])

    def _marked(self, model: keras.Model) -> set[int]:
        if self._found is None:
            # Asked for the first time when the optimizer is built: by then all variables exist.
            marked = [each for each in marked_layers(model) if each.mark in self._marks]
            check(marked)
            self._found = {id(v) for each in marked for v in each.variables}
        return self._found

    def _places(self, model: keras.Model) -> list[Any] | None:
        if model.built:
            marked = self._marked(model)
            kernels = describe(model.trainable_variables)
            return places_of([kernel for kernel in kernels if id(kernel.variable) in marked])
        mark = mark_of(model)
        if mark in self._marks and mark.policy is None:
            return None
        raise ValueError(
            f"The model {model.name!r} is not built, so it cannot be saved or cloned with an "
            "optimizer that prunes some of its layers. Build it first."
        )
