"""Load a saved model and write it in a format: the task of a process on another backend."""

import importlib
import inspect
from typing import Any

import keras

from keras_sac.deployment._formats import Way
from keras_sac.deployment._signature import from_task
from keras_sac.deployment._write_format import write


def custom_objects(module: str | None) -> dict[str, Any]:
    """Return the classes and functions of a user's module by name, for `keras.saving`.

    Args:
        module: name of the module, or `None` if there is none.

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


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Write a model in the format that the task asks for.

    Args:
        task: `model`, the path of a `.keras` file; `path` and `format` of the file to write;
            `index` of the way to write it; `signature`, made by `to_task`; `classes`, the name of
            the module with the user's own layers, or `None`.

    Returns:
        An empty dict.
    """
    # `safe_mode` protects against code in files from others. This process's parent wrote the file.
    model = keras.saving.load_model(
        task["model"],
        custom_objects=custom_objects(task["classes"]),
        compile=False,
        safe_mode=False,
    )
    way = Way(keras.config.backend(), task["index"])
    write(way, model, task["path"], task["format"], from_task(task["signature"]))
    return {}
