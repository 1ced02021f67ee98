"""Write a model in an exported format, here or in a process on another backend."""

import contextlib
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterator

import keras

from keras_sac._model import all_layers
from keras_sac._run import ChildError, accelerator_name, run
from keras_sac.deployment._exported import ExportError
from keras_sac.deployment._formats import FORMATS


def write_on(
    backend: str, model: keras.Model, path: str, format: str, custom_objects_module: str | None
) -> None:
    """Write a model in a format on the given backend.

    Args:
        backend: backend that writes the format; it need not be the active one.
        model: built model of stock layers, without pruning optimizer.
        path: new file or folder.
        format: name of the format.
        custom_objects_module: name of the module with the user's own layers.

    Raises:
        ExportError: if the model cannot be written.
        OSError: if the disk is full.
    """
    # A model traced on an accelerator runs only there, so another process writes it on the CPU.
    if backend != keras.config.backend() or accelerator_name() is not None:
        _write_elsewhere(backend, model, path, format, custom_objects_module)
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


def write(model: keras.Model, path: str, format: str) -> None:
    """Write a model on the active backend, with an open batch size.

    Args:
        model: built model of stock layers, without pruning optimizer.
        path: new file or folder.
        format: one of `FORMATS` that the active backend writes.
    """
    with _quiet():
        FORMATS[format].write(model, path)
    if not os.path.exists(path):
        raise RuntimeError(f"No file was written for the format {format!r}.")


def _write_elsewhere(
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
                    "registered (`keras.saving.register_keras_serializable()`), compute with "
                    "`keras.ops`, and be in a module that the process can import, not in a script "
                    "or notebook. Pass the name of the module, such as "
                    "custom_objects_module='my_layers'. "
                    f"Received: {custom_objects_module=}"
                )
            raise ExportError(message) from error


def _own_classes(model: keras.Model) -> list[str]:
    """Return the layer classes in a model that belong neither to Keras nor to this package."""
    classes = {type(layer) for layer in all_layers(model)}
    names = {f"{each.__module__}.{each.__qualname__}" for each in classes}
    return sorted(name for name in names if name.split(".")[0] not in {"keras", "keras_sac"})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracers, which warn for every model that Python code runs only once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
