"""Resolve the `targets=` argument to variables, with a reason for each that is left out."""

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import keras
import numpy as np

from keras_sac._model._kernels import Kernel, describe
from keras_sac._model._places import is_path, places_of, restored
from keras_sac._model._selectors import (
    Selector,
    as_list,
    check_selector,
    matching_paths,
    no_match,
)


@keras.saving.register_keras_serializable(package="keras_sac")
class Selection:
    """Some of the variables of a model.

    Args:
        select: a layer or model, a variable, the name of a layer, a regular expression that is
            searched for in `variable.path`, a callable from a variable to a boolean, or a list of
            those. Biases, scales of normalizations and depthwise kernels are left out unless the
            variable itself is given.

    Raises:
        ValueError: if `select` is none of these, or an empty list.
    """

    # Callables that are no functions of a variable.
    refused: ClassVar[tuple[type, ...]] = (type,)

    def __init__(self, select: Selector | Sequence[Selector]):
        selectors = tuple(as_list(select))
        for selector in selectors:
            check_selector(selector, self.refused)
        self.selectors = selectors
        self._places: list[list[Any]] = []

    @classmethod
    def is_one(cls, target: Any) -> bool:
        """Return whether a target is of this kind already."""
        # Where plain selections are expected, one with a schedule of its own is a mistake.
        return type(target) is Selection if cls is Selection else isinstance(target, cls)

    def resolve(self, kernels: Sequence[Kernel]) -> set[int]:
        """Return the indices of the variables that this selects.

        Raises:
            ValueError: if a name among the selectors belongs to two layers.
        """
        return set().union(*(_selected(each, kernels) for each in self.selectors))

    def remember(self, kernels: Sequence[Kernel]) -> None:
        """Remember the variables that this selected and no selection before it did."""
        self._places = places_of(kernels)

    def layers(self) -> list[keras.layers.Layer]:
        """Return the layers among the selectors."""
        return [s for s in self.selectors if isinstance(s, keras.layers.Layer)]

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor; selected variables by their place."""
        if self._places and not all(isinstance(selector, str) for selector in self.selectors):
            # Not the function: its choice is certain, and a lambda would not load safely.
            return {"select": [{"places": self._places}]}
        return {"select": [_portable(selector) for selector in self.selectors]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Selection":
        """Make a selection from what `get_config` returned; other arguments may be serialized."""
        restore = keras.saving.deserialize_keras_object
        select = [
            restore(s) if isinstance(s, dict) and "class_name" in s else s for s in config["select"]
        ]
        rest = {name: restore(value) for name, value in config.items() if name != "select"}
        return cls(select, **rest)


Kind = TypeVar("Kind", bound=Selection)


def as_selections(targets: Any, kind: type[Kind]) -> tuple[Kind, ...] | None:
    """Return `targets=` as selections of a kind; `None`, for all kernels, stays `None`."""
    if targets is None:
        return None
    return tuple(each if kind.is_one(each) else kind(each) for each in as_list(targets))


def select_kernels(
    variables: Sequence[keras.Variable],
    selections: Sequence[Kind] | None,
    layers: Sequence[keras.layers.Layer] = (),
    *,
    purpose: str,
) -> tuple[list[tuple[Kernel, Kind | None]], dict[str, str]]:
    """Decide about each variable; of several selections that select it the first counts.

    Args:
        variables: the variables of a model or an optimizer.
        selections: what is selected; `None` for all kernels.
        layers: layers that hold the variables, where they are known.
        purpose: completes "nothing that can be ..." in the error: `"pruned"`.

    Returns:
        The selected kernels in the order of the variables, each with its selection (`None` by
        default); and the reason for each path that is left out.

    Raises:
        ValueError: if a selection selects nothing, a name is ambiguous, or a selected kernel is
            quantized or has LoRA adapters.
    """
    named = [layer for selection in selections or () for layer in selection.layers()]
    kernels = describe(variables, [*layers, *named])
    owner: dict[int, Kind | None] = {}
    if selections is None:
        owner = {kernel.index: None for kernel in kernels if kernel.skip_reason is None}
    for selection in selections or ():
        found = selection.resolve(kernels) - owner.keys()
        owner.update(dict.fromkeys(found, selection))
        selection.remember([kernel for kernel in kernels if kernel.index in found])
    default = None if selections is None else "not among the targets"
    skipped = {
        kernel.path: kernel.skip_reason or default or ""
        for kernel in kernels
        if kernel.index not in owner
    }
    used = {id(selection) for selection in owner.values()}
    unused = [selection for selection in selections or () if id(selection) not in used]
    if unused or not owner:
        why = {k.path: skipped.get(k.path, "selected by another target") for k in kernels}
        listed = {f"{k.path} {k.shape}": why[k.path] for k in kernels}
        if selections is None:
            seen = "; ".join(f"{name}: {reason}" for name, reason in listed.items())
            raise ValueError(f"Nothing can be {purpose}. Received the variables: {seen or 'none'}")
        raise no_match([s for each in unused for s in each.selectors], listed, purpose)
    selected = [(kernel, owner[kernel.index]) for kernel in kernels if kernel.index in owner]
    locked = {kernel.path: kernel.locked for kernel, _ in selected if kernel.locked}
    if locked:
        listed = "; ".join(f"{path}: {reason}" for path, reason in locked.items())
        raise ValueError(f"Some kernels must not be {purpose}. Received: {listed}.")
    return selected, skipped


def report_rows(
    variables: Sequence[keras.Variable],
    skipped: dict[str, str],
    details: dict[int, dict[str, str]],
    *,
    purpose: str,
) -> list[dict[str, Any]]:
    """Return one row of a report for each variable.

    Args:
        variables: all that were considered.
        skipped: why each path was left out.
        details: further columns of the selected variables, by their `id`.
        purpose: name of the column that says whether a variable is selected.

    Returns:
        Rows of `path`, `shape`, `weights`, `purpose`, `reason`, the details (empty text for
        variables that were left out), and `sparsity`, the fraction of zeros now.
    """
    empty = {name: "" for detail in details.values() for name in detail}
    found = []
    for variable in variables:
        detail = details.get(id(variable))
        values = keras.ops.convert_to_numpy(variable)
        found.append(
            {
                "path": variable.path,
                "shape": tuple(int(extent) for extent in variable.shape),
                "weights": values.size,
                purpose: detail is not None,
                "reason": skipped[variable.path] if detail is None else "",
                **(empty if detail is None else detail),
                "sparsity": 1.0 - np.count_nonzero(values) / values.size,
            }
        )
    return found


def _selected(selector: Any, kernels: Sequence[Kernel]) -> set[int]:
    if isinstance(selector, keras.Variable):
        return {k.index for k in kernels if k.variable is selector}
    if isinstance(selector, dict) and "places" in selector:
        return restored(selector["places"], kernels)
    if isinstance(selector, dict) and "variable" in selector:
        return {k.index for k in kernels if is_path(selector["variable"], k.path)}
    allowed = [kernel for kernel in kernels if not kernel.never]
    if isinstance(selector, str):
        paths = [kernel.path for kernel in allowed]
        matches = matching_paths(selector, paths, [path.rpartition("/")[0] for path in paths])
    elif isinstance(selector, keras.layers.Layer):
        own = {id(variable) for variable in selector.variables}
        matches = [id(kernel.variable) in own for kernel in allowed]
    elif isinstance(selector, dict):
        matches = [any(is_path(path, k.path) for path in selector["layer"]) for k in allowed]
    else:
        matches = [bool(selector(kernel.variable)) for kernel in allowed]
    return {kernel.index for kernel, match in zip(allowed, matches, strict=True) if match}


def _portable(selector: Any) -> Any:
    """Return how a file stores a selector that has selected nothing yet."""
    if isinstance(selector, keras.Variable):
        return {"variable": selector.path}
    if isinstance(selector, keras.layers.Layer):
        # Not the path of the layer: a variable of a nested layer need not begin with it.
        return {"layer": [variable.path for variable in selector.variables]}
    if isinstance(selector, str | dict):
        return selector
    return keras.saving.serialize_keras_object(selector)
