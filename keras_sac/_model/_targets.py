"""The choice among the variables of an optimizer, with a reason for each that is left out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import keras
import numpy as np

from keras_sac._model._kernels import Kernel, describe
from keras_sac._model._selection import Selection

Kind = TypeVar("Kind", bound=Selection)


@dataclasses.dataclass(frozen=True)
class Picked(Generic[Kind]):
    """A variable that is chosen.

    Attributes:
        variable: it.
        kernel: what is known of it.
        selection: by which it was picked; `None` if by default.
    """

    variable: keras.Variable
    kernel: Kernel
    selection: Kind | None


def pick(
    variables: Sequence[keras.Variable],
    selections: Sequence[Kind] | None,
    layers: Sequence[keras.layers.Layer] = (),
    *,
    done: str,
) -> tuple[list[Picked[Kind]], dict[str, str]]:
    """Decide about each variable; of several selections that pick it the first counts.

    Args:
        variables: the trainable variables of a model.
        selections: what is chosen; `None` for all kernels.
        layers: layers that hold the variables, where they are known; those among the selectors are.
        done: what is done to those that are chosen, for the message: `"pruned"`.

    Returns:
        What is chosen, in the order of the variables; and the reason for each other path.

    Raises:
        ValueError: if a selection picks nothing.
    """
    named = [layer for selection in selections or () for layer in selection.layers()]
    kernels = describe(variables, [*layers, *named])
    for selection in selections or ():
        selection.meet(kernels)
    chosen: list[Picked[Kind]] = []
    skipped: dict[str, str] = {}
    for variable, kernel in zip(variables, kernels, strict=True):
        if selections is None:
            selection, reason = None, kernel.obstacle
        else:
            selection = next((s for s in selections if s.picks(variable, kernel)), None)
            reason = None if selection else kernel.obstacle or "not among the targets"
        if reason is not None:
            skipped[kernel.path] = reason
            continue
        if selection is not None:
            selection.take(kernel)
        chosen.append(Picked(variable, kernel, selection))
    used = {id(picked.selection) for picked in chosen}
    unused = [selection for selection in selections or () if id(selection) not in used]
    if unused or not chosen:
        raise ValueError(_nothing_matched(unused, kernels, skipped, done))
    return chosen, skipped


def rows(
    variables: Sequence[keras.Variable],
    skipped: dict[str, str],
    details: dict[int, dict[str, str]],
    *,
    done: str,
) -> list[dict[str, Any]]:
    """Return one row of a report for each variable.

    Args:
        variables: all that were looked at.
        skipped: why each path was left out.
        details: what more is known of those that are chosen, by their `id`; the same columns.
        done: the column that says whether a variable is chosen.

    Returns:
        Rows of `path`, `shape`, `weights`, `done`, `reason`, the details (empty text for those
        that were left out), and `sparsity`, the share of zeros now.
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
                done: detail is not None,
                "reason": skipped[variable.path] if detail is None else "",
                **(empty if detail is None else detail),
                "sparsity": 1.0 - np.count_nonzero(values) / values.size,
            }
        )
    return found


def _nothing_matched(
    unused: Sequence[Selection], kernels: list[Kernel], skipped: dict[str, str], done: str
) -> str:
    what = (
        f"`targets` match nothing that can be {done}: {[s.selectors for s in unused]}."
        if unused
        else f"Nothing can be {done}."
    )
    seen = "; ".join(
        f"{k.path} {k.shape}: {skipped.get(k.path, 'picked by another target')}" for k in kernels
    )
    return (
        f"{what} Received the variables: {seen}. To choose a variable all the same, name it itself."
    )
