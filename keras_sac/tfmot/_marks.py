"""What `prune_low_magnitude` leaves on layers, and which variables follow from it."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import describe, inner_layers

_MARK = "_pruning_mark"


@dataclasses.dataclass(eq=False)
class Mark:
    """How a layer, and whatever is inside it, is to be pruned.

    Attributes:
        schedule: of the engine.
        pattern: of the engine.
        policy: which layers inside a marked model are pruned, or `None` for all.
        strict: whether a layer that cannot be pruned is an error.
        of_model: whether it was put on as one of the layers of a model.
        checked: whether the layers that it is on have been looked at.
    """

    schedule: pruning.PruningSchedule
    pattern: pruning.Pattern
    policy: Any
    strict: bool
    of_model: bool
    checked: bool = False


@dataclasses.dataclass(frozen=True)
class Marked:
    """A layer under a mark.

    Attributes:
        layer: it.
        mark: the one that is nearest to it, on itself or on what holds it.
        variables: its own that are to be pruned; those of the layers inside it are theirs.
        unknown: whether it has weights of which nobody knows whether they may be pruned.
    """

    layer: keras.layers.Layer
    mark: Mark
    variables: list[keras.Variable]
    unknown: bool


def mark_of(layer: keras.layers.Layer) -> Mark | None:
    """Return the mark on a layer itself."""
    return getattr(layer, _MARK, None)


def put_mark(layer: keras.layers.Layer, mark: Mark) -> None:
    """Mark a layer."""
    setattr(layer, _MARK, mark)


def remove_mark(layer: keras.layers.Layer) -> None:
    """Remove the mark on a layer, if there is one."""
    if mark_of(layer) is not None:
        delattr(layer, _MARK)


def marked_layers(root: keras.layers.Layer) -> list[Marked]:
    """Return all layers under marks, in `root` and inside it, as far as they exist by now.

    Raises:
        ValueError: if `get_prunable_weights` of a layer returns anything but variables.
    """
    return list(_visit(root, None, False, set()))


def check(marked: Sequence[Marked]) -> None:
    """Report layers that cannot be pruned, and patterns that do not fit, once for each mark.

    Raises:
        ValueError: for a pattern that does not fit, and for an unknown layer under `strict`.
    """
    for mark in {each.mark: None for each in marked}:
        if not mark.checked:
            _check_one(mark, [each for each in marked if each.mark is mark])
            mark.checked = True


def children(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the layers directly inside a layer."""
    return inner_layers(layer)


def _visit(
    layer: keras.layers.Layer, mark: Mark | None, in_model: bool, seen: set[Any]
) -> Iterator[Marked]:
    own_mark = mark_of(layer)
    is_model = isinstance(layer, keras.Model)
    if own_mark is not None:
        mark = own_mark
    elif mark is not None and mark.policy is not None and in_model and not is_model:
        mark = mark if mark.policy.allow_pruning(layer) else None
    if (layer, mark) in seen:
        return
    seen.add((layer, mark))
    if mark is not None and hasattr(layer, "get_prunable_weights"):
        yield Marked(layer, mark, _named_by(layer), unknown=False)
        return
    if mark is not None:
        yield _described(layer, mark)
    for child in children(layer):
        yield from _visit(child, mark, is_model, seen)


def _named_by(layer: Any) -> list[keras.Variable]:
    variables = list(layer.get_prunable_weights()) if layer.built else []
    strange = [v for v in variables if not isinstance(v, keras.Variable)]
    if strange:
        raise ValueError(
            f"`get_prunable_weights` of {layer.name!r} must return variables, as `add_weight` "
            f"makes them. Received: {[type(each).__name__ for each in strange]}"
        )
    return variables


def _described(layer: keras.layers.Layer, mark: Mark) -> Marked:
    inside = {id(v) for child in children(layer) for v in child.variables}
    own = [v for v in layer.weights if id(v) not in inside]
    kernels = describe(own, [layer])
    return Marked(
        layer,
        mark,
        variables=[kernel.variable for kernel in kernels if kernel.skip_reason is None],
        unknown=any(
            kernel.skip_reason is not None and not kernel.never and kernel.variable.trainable
            for kernel in kernels
        ),
    )


def _check_one(mark: Mark, marked: list[Marked]) -> None:
    unknown = [
        f"{each.layer.name} ({type(each.layer).__name__}: "
        f"{', '.join(v.name for v in each.layer.trainable_variables)})"
        for each in marked
        if each.unknown and not each.variables
    ]
    if unknown:
        text = (
            f"Layers that are not pruned, because it is not known which of their weights may be: "
            f"{'; '.join(unknown)}. Give such a layer a method `get_prunable_weights()` that "
            "returns those variables, or an empty list."
        )
        if mark.strict:
            raise ValueError(text)
        warnings.warn(text, stacklevel=2)
    frozen = [v.path for each in marked for v in each.variables if not v.trainable]
    if frozen:
        warnings.warn(
            f"Weights that are not pruned, because they are frozen: {', '.join(frozen)}. Set "
            "`layer.trainable = True` before `compile`, or leave them out.",
            stacklevel=2,
        )
    for each in marked:
        for variable in each.variables:
            _check_pattern(mark.pattern, each.layer, variable)


def _check_pattern(
    pattern: pruning.Pattern, layer: keras.layers.Layer, variable: keras.Variable
) -> None:
    rank = len(variable.shape)
    if isinstance(pattern, pruning.Block) and rank != 2:
        what, needed = f"block_size={pattern.size}", "two axes"
    elif isinstance(pattern, pruning.NM) and rank < 2:
        what, needed = f"sparsity_m_by_n={(pattern.n_zeros, pattern.m)}", "two axes or more"
    else:
        return
    raise ValueError(
        f"`{what}` is for weights of {needed}. Received: {variable.path!r} of shape "
        f"{tuple(variable.shape)}, in the layer {layer.name!r}. Call `prune_low_magnitude` on the "
        "layers that it fits instead of the whole model, or name them by a `pruning_policy`."
    )
