"""Turn the marks on the layers of a model into targets of `PruningOptimizer`."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import Kernel
from keras_sac.pruning import schedule_key
from keras_sac.tfmot._marks import (
    Mark,
    check_marks,
    marked_layers,
    pruned_variables,
)


def targets_of(model: keras.Model) -> list["MarkedTarget"]:
    """Return one target for each schedule and pattern that has weights to prune in a model."""
    marked = marked_layers(model)
    groups: dict[str, list[Mark]] = {}
    for mark in {mark: None for _, mark in marked}:
        groups.setdefault(_key(mark), []).append(mark)
    return [
        MarkedTarget(".", marks[0].schedule, marks[0].pattern, model=model, marks=marks)
        for marks in groups.values()
        if any(_may_have_weights(layer) for layer, mark in marked if mark in marks)
    ]


def _key(mark: Mark) -> str:
    # Layers with equal marks share a target: a target of a layer without weights would select
    # nothing, which is an error.
    return str((schedule_key(mark.schedule), type(mark.pattern), mark.pattern.get_config()))


def _may_have_weights(layer: keras.layers.Layer) -> bool:
    # A layer that is not built may get weights later, if it or a layer inside it makes any.
    makes_none = type(layer).build is keras.layers.Layer.build
    if layer.built or (makes_none and not hasattr(layer, "get_prunable_weights")):
        return any(variable.trainable for variable in pruned_variables(layer))
    return layer.trainable


@keras.saving.register_keras_serializable(package="keras_sac.tfmot")
class MarkedTarget(pruning.Target):
    """The variables of the marked layers of a model, which need not exist yet.

    Marks are not saved: a target from a file selects the variables at the same places.

    Args:
        select: as for `keras_sac.pruning.Target`; replaced by the marked variables of `model`.
        schedule: a schedule of `keras_sac.pruning`.
        pattern: a sparsity pattern of `keras_sac.pruning`.
        model: the model with the marked layers; `None` for a target from a file.
        marks: the marks with this schedule and pattern.
    """

    def __init__(
        self,
        select: Any,
        schedule: pruning.PruningSchedule | None = None,
        pattern: pruning.Pattern | None = None,
        *,
        model: keras.Model | None = None,
        marks: Sequence[Mark] = (),
    ):
        super().__init__(select, schedule, pattern)
        self._model = model
        self._marks = tuple(marks)
        self._is_selected = model is None

    def resolve(self, kernels: Sequence[Kernel]) -> set[int]:
        """Return the indices of the marked variables."""
        self._select_variables()
        return super().resolve(kernels)

    def layers(self) -> list[keras.layers.Layer]:
        """Return the model, which knows the axes of each kernel."""
        return super().layers() if self._model is None else [self._model]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; the variables by their places in the model."""
        self._select_variables()
        return super().get_config()

    def _select_variables(self) -> None:
        if self._is_selected or self._model is None:
            return
        if not self._model.built:
            raise ValueError(
                f"The model {self._model.name!r} must be built before it is saved or cloned with a "
                "pruning optimizer. Call it on a batch, or `model.build(input_shape)`, first."
            )
        marked = [(layer, m) for layer, m in marked_layers(self._model) if m in self._marks]
        check_marks(marked)
        variables = {id(v): v for layer, _ in marked for v in pruned_variables(layer)}
        self.selectors = tuple(variables.values())
        self._is_selected = True
