"""Classes and functions of the user's own, by the name of their module."""

import importlib
import inspect
from typing import Any


def custom_objects(module: str | None) -> dict[str, Any]:
    """Return what a module has that a saved model may name, by its names.

    Args:
        module: name; `None` stands for none.

    Raises:
        ImportError: if the module cannot be imported here.
    """
    if module is None:
        return {}
    found = vars(importlib.import_module(module))
    return {
        name: each
        for name, each in found.items()
        if inspect.isclass(each) or inspect.isfunction(each)
    }
