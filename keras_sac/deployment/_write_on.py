"""Writing a model on a backend: here, or in a process of its own."""

import os
import pathlib
import tempfile

import keras

from keras_sac._model import all_layers
from keras_sac._run import ChildError, accelerator_name, run
from keras_sac.deployment._errors import ExportError
from keras_sac.deployment._writer import write


def write_on(
    backend: str, model: keras.Model, path: str, format: str, custom_objects_module: str | None
) -> None:
    """Write a model in a format that a backend writes.

    Args:
        backend: active here or not.
        model: built, without what only training needs.
        path: of the new file or folder.
        format: name of the format.
        custom_objects_module: name of the module with layers of the user's own.

    Raises:
        ExportError: if it cannot be written.
        OSError: if there is no room for it.
    """
    # On the CPU: what is made for one device does not run on another.
    if backend != keras.config.backend() or accelerator_name() is not None:
        _elsewhere(backend, model, path, format, custom_objects_module)
        return
    try:
        write(model, path, format)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(
            f"Keras could not write the model as {format} on {backend}. "
            f"{type(error).__name__}: {error}"
        ) from error


def _elsewhere(
    backend: str, model: keras.Model, path: str, format: str, custom_objects_module: str | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = str(pathlib.Path(folder, "model.keras"))
        model.save(saved)
        task = {
            "module": "keras_sac.deployment._conversion_task",
            "model": saved,
            "path": os.path.abspath(path),
            "format": format,
            "classes": custom_objects_module,
        }
        try:
            run(task, KERAS_BACKEND=backend, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        except ChildError as error:
            message = f"The process on {backend} could not write the model as {format}. {error}"
            own = _own_classes(model)
            if own:
                message += (
                    f"\nThe model has classes of your own: {', '.join(own)}. Each must be "
                    "registered (`keras.saving.register_keras_serializable()`), compute by "
                    "`keras.ops`, and be in a module that can be imported there, no script or "
                    "notebook. Expected custom_objects_module='my_layers'. "
                    f"Received: {custom_objects_module=}"
                )
            raise ExportError(message) from error


def _own_classes(model: keras.Model) -> list[str]:
    """Return the classes in a model that neither Keras nor this package has."""
    classes = {type(layer) for layer in all_layers(model)}
    names = {f"{each.__module__}.{each.__qualname__}" for each in classes}
    return sorted(name for name in names if name.split(".")[0] not in {"keras", "keras_sac"})
