"""The ways to name variables: a layer, a variable, a regular expression, a callable, a place."""

import re
from collections.abc import Callable
from typing import Any

import keras

from keras_sac._model._kernels import Kernel
from keras_sac._model._places import is_path

# A dictionary is what a file keeps of the others.
Selector = keras.layers.Layer | keras.Variable | str | Callable[[keras.Variable], bool] | dict


def check_selector(selector: Any, refused: tuple[type, ...]) -> None:
    """Raise `ValueError` if it is no selector; `refused` are callables that are none either."""
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
    function = callable(selector) and not isinstance(selector, refused)
    if not known and not function:
        raise ValueError(
            "A target is a layer, a variable, a regular expression on the path, a callable, or a "
            f"list of those. Received: {selector!r} of type {type(selector).__name__}"
        )


def picks(selector: Any, variable: keras.Variable, kernel: Kernel) -> bool:
    """Return whether a selector names the variable; places are looked up elsewhere."""
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


def portable(selector: Any) -> Any:
    """Return what a file keeps of a selector that has picked nothing yet."""
    if isinstance(selector, keras.Variable):
        return {"variable": selector.path}
    if isinstance(selector, keras.layers.Layer):
        # Not the path of the layer: a variable of a nested layer need not begin with it.
        return {"layer": [variable.path for variable in selector.variables]}
    if isinstance(selector, str | dict):
        return selector
    return keras.saving.serialize_keras_object(selector)
