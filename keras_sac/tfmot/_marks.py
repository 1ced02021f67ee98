"""Mark layers for pruning, and find the variables of marked layers."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import Kernel, describe, inner_layers

_MARK = "_pruning_mark"


@dataclasses.dataclass(eq=False)
class Mark:
    """How to prune a layer and the layers inside it.

    Attributes:
        schedule: a schedule of `keras_sac.pruning`.
        pattern: a sparsity pattern of `keras_sac.pruning`.
        policy: selects the layers inside a marked model; `None` for all.
        strict: whether a layer with unknown weights is an error.
        of_model: whether the layer was marked as part of a model.
        checked: whether the layers with this mark have been checked.
    """

    schedule: pruning.PruningSchedule
    pattern: pruning.Pattern
    policy: Any
    strict: bool
    of_model: bool
    checked: bool = False


# A layer and the mark that applies to it: its own, or that of the nearest layer around it.
MarkedLayer = tuple[keras.layers.Layer, Mark]


def mark_of(layer: keras.layers.Layer) -> Mark | None:
    """Return the mark on a layer itself."""
    return getattr(layer, _MARK, None)


def set_mark(layer: keras.layers.Layer, mark: Mark) -> None:
    """Mark a layer."""
    setattr(layer, _MARK, mark)


def remove_mark(layer: keras.layers.Layer) -> None:
    """Remove the mark from a layer, if there is one."""
    if mark_of(layer) is not None:
        delattr(layer, _MARK)


def marked_layers(root: keras.layers.Layer) -> list[MarkedLayer]:
    """Return the marked layers that exist by now, in `root` and inside it."""
    return list(_visit(root, None, False, set()))


def pruned_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the variables of a marked layer to prune, without those of the layers inside it.

    Raises:
        ValueError: if `get_prunable_weights` of the layer returns anything but variables.
    """
    if _names_its_weights(layer):
        return _named_variables(layer)
    return [kernel.variable for kernel in _own_kernels(layer) if kernel.skip_reason is None]


def check_marks(marked: Sequence[MarkedLayer]) -> None:
    """Report layers that cannot be pruned, and patterns that do not fit, once for each mark.

    Raises:
        ValueError: for a pattern that does not fit, and for a layer with unknown weights if
            `strict`.
    """
    for mark in {mark: None for _, mark in marked}:
        if not mark.checked:
            _check_layers(mark, [layer for layer, other in marked if other is mark])
            mark.checked = True


def _visit(
    layer: keras.layers.Layer, mark: Mark | None, in_model: bool, seen: set[Any]
) -> Iterator[MarkedLayer]:
    own_mark = mark_of(layer)
    is_model = isinstance(layer, keras.Model)
    if own_mark is not None:
        mark = own_mark
    elif mark is not None and mark.policy is not None and in_model and not is_model:
        mark = mark if mark.policy.allow_pruning(layer) else None
    if (layer, mark) in seen:
        return
    seen.add((layer, mark))
    if mark is not None:
        yield layer, mark
        if _names_its_weights(layer):
            return
    for inner in inner_layers(layer):
        yield from _visit(inner, mark, is_model, seen)


def _names_its_weights(layer: Any) -> bool:
    return hasattr(layer, "get_prunable_weights")


def _named_variables(layer: Any) -> list[keras.Variable]:
    variables = list(layer.get_prunable_weights()) if layer.built else []
    others = [v for v in variables if not isinstance(v, keras.Variable)]
    if others:
        raise ValueError(
            f"`get_prunable_weights` of {layer.name!r} must return variables, as `add_weight` "
            f"creates them. Received: {[type(each).__name__ for each in others]}"
        )
    return variables


def _own_kernels(layer: keras.layers.Layer) -> list[Kernel]:
    inside = {id(v) for inner in inner_layers(layer) for v in inner.variables}
    return describe([v for v in layer.weights if id(v) not in inside], [layer])


def _has_only_unknown_weights(layer: keras.layers.Layer) -> bool:
    if _names_its_weights(layer):
        return False
    kernels = _own_kernels(layer)
    unknown = [k for k in kernels if k.skip_reason and not k.never and k.variable.trainable]
    return bool(unknown) and all(kernel.skip_reason is not None for kernel in kernels)


def _check_layers(mark: Mark, layers: list[keras.layers.Layer]) -> None:
    unknown = [
        f"{layer.name} ({type(layer).__name__}: "
        f"{', '.join(v.name for v in layer.trainable_variables)})"
        for layer in layers
        if _has_only_unknown_weights(layer)
    ]
    if unknown:
        text = (
            "Layers are not pruned because it is unknown which of their weights may be pruned: "
            f"{'; '.join(unknown)}. Give such a layer a method `get_prunable_weights()` that "
            "returns these variables, or an empty list."
        )
        if mark.strict:
            raise ValueError(text)
        warnings.warn(text, stacklevel=2)
    frozen = [v.path for layer in layers for v in pruned_variables(layer) if not v.trainable]
    if frozen:
        warnings.warn(
            f"Weights are not pruned because they are frozen: {', '.join(frozen)}. Set "
            "`layer.trainable = True` before `compile`, or do not mark these layers.",
            stacklevel=2,
        )
    for layer in layers:
        for variable in pruned_variables(layer):
            _check_pattern(mark.pattern, layer, variable)


def _check_pattern(
    pattern: pruning.Pattern, layer: keras.layers.Layer, variable: keras.Variable
) -> None:
    rank = len(variable.shape)
    if isinstance(pattern, pruning.Block) and rank != 2:
        argument, valid = f"block_size={pattern.size}", "two axes"
    elif isinstance(pattern, pruning.NM) and rank < 2:
        argument, valid = f"sparsity_m_by_n={(pattern.n_zeros, pattern.m)}", "at least two axes"
    else:
        return
    raise ValueError(
        f"`{argument}` prunes weights with {valid}. Received: {variable.path!r} of shape "
        f"{tuple(variable.shape)}, in the layer {layer.name!r}. Call `prune_low_magnitude` on "
        "single layers instead of the whole model, or select them by a `pruning_policy`."
    )
