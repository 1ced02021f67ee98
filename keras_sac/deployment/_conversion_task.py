"""What the process on another backend does: load a saved model, and write it in a format."""

from typing import Any

import keras

from keras_sac._run import custom_objects
from keras_sac.deployment._writer import write


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Write a model.

    Args:
        task: `model`, the path of a `.keras` file; `path` and `format` of what to write; `classes`,
            the name of the module with the classes of its layers, or `None`.

    Returns:
        Nothing that the task does not say.
    """
    # The file was written by the process that asks for this: what it holds ran there already.
    model = keras.saving.load_model(
        task["model"],
        custom_objects=custom_objects(task["classes"]),
        compile=False,
        safe_mode=False,
    )
    write(model, task["path"], task["format"])
    return {}
