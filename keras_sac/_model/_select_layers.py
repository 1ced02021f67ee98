"""Resolve the `targets=` argument to layers of a model."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_sac._model._selectors import as_list, check_selector, matching_paths, no_match
from keras_sac._model._walk import all_layers, layer_paths


def select_layers(
    model: keras.Model,
    targets: Any,
    among: Sequence[keras.layers.Layer],
    *,
    purpose: str,
) -> list[keras.layers.Layer]:
    """Return the layers that `targets=` selects, in the order of `among`.

    A layer selects itself and the layers inside it; a text the layers of that name, or those whose
    path the regular expression is found in; a variable and a callable the layers whose variables
    they select.

    Args:
        model: whose layers they are; it gives them their paths.
        targets: as users pass it; `None` selects all of `among`.
        among: the layers that may be selected.
        purpose: completes "nothing that can be ..." in the error: `"merged"`.

    Raises:
        ValueError: if a target selects nothing, is of the wrong type, or is an ambiguous name.
    """
    if targets is None:
        return list(among)
    paths = {id(layer): path for path, layer in layer_paths(model).items()}
    names = [paths.get(id(layer), str(layer.name)) for layer in among]
    selected: set[int] = set()
    for target in as_list(targets):
        check_selector(target)
        found = _selected(target, among, names)
        if not found:
            raise no_match([target], dict.fromkeys(names, ""), purpose)
        selected |= found
    return [layer for layer in among if id(layer) in selected]


def _selected(target: Any, among: Sequence[keras.layers.Layer], names: list[str]) -> set[int]:
    if isinstance(target, str):
        matches = matching_paths(target, names, names)
        return {id(layer) for layer, match in zip(among, matches, strict=True) if match}
    if isinstance(target, keras.layers.Layer):
        inside = {id(layer) for layer in all_layers(target)}
        return {id(layer) for layer in among if id(layer) in inside}
    if isinstance(target, keras.Variable):
        return {id(each) for each in among if any(v is target for v in each.variables)}
    return {id(each) for each in among if any(target(v) for v in each.variables)}
