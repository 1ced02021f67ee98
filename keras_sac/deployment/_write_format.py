"""Write a model in an exported format, here or in a process on another backend."""

import contextlib
import io
import logging
import os
import pathlib
import tempfile
import threading
import warnings
from collections.abc import Iterator

import keras

from keras_sac._model import all_layers
from keras_sac._run import ChildError, accelerator_name, run
from keras_sac.deployment._exported import ExportError
from keras_sac.deployment._formats import FORMATS, Way
from keras_sac.deployment._signature import Signature, to_task

# Tracers keep their state in the process, so two threads must not trace at the same time.
_LOCK = threading.RLock()


def write_on(
    way: Way,
    model: keras.Model,
    path: str,
    format: str,
    signature: Signature,
    custom_objects_module: str | None,
) -> None:
    """Write a model in a format in one of `ways(format)`.

    Args:
        way: the backend, which need not be the active one, and how it writes.
        model: built model of stock layers, without pruning optimizer.
        path: new file or folder.
        format: name of the format.
        signature: inputs and outputs of the file.
        custom_objects_module: name of the module with the user's own layers.

    Raises:
        ExportError: if the model cannot be written.
        OSError: if the disk is full.
    """
    if way.backend != keras.config.backend():
        _write_elsewhere(way, model, path, format, signature, custom_objects_module)
        return
    if accelerator_name() is not None:
        # A model traced on an accelerator runs only there, so another process writes it on the CPU.
        # It may not find classes of a script or notebook; this process has them.
        try:
            _write_elsewhere(way, model, path, format, signature, custom_objects_module)
            return
        except ExportError:
            if not _own_classes(model):
                raise
    try:
        write(way, model, path, format, signature)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(
            f"Keras could not write the model as {format} on {way.backend}. "
            f"{type(error).__name__}: {error}"
        ) from error


def write(way: Way, model: keras.Model, path: str, format: str, signature: Signature) -> None:
    """Write a model on the active backend.

    Args:
        way: how to write.
        model: built model of stock layers, without pruning optimizer.
        path: new file or folder.
        format: name of the format.
        signature: inputs and outputs of the file.
    """
    with _LOCK, _quiet():
        FORMATS[format][way.index].write(model, path, signature)
    if not os.path.exists(path):
        raise RuntimeError(f"No file was written for the format {format!r}.")


def _write_elsewhere(
    way: Way,
    model: keras.Model,
    path: str,
    format: str,
    signature: Signature,
    custom_objects_module: str | None,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = str(pathlib.Path(folder, "model.keras"))
        try:
            with warnings.catch_warnings():
                # What cannot be saved is an error below; the rest is no concern of the user.
                warnings.simplefilter("ignore")
                model.save(saved)
        except OSError:
            raise
        except Exception as error:
            raise ExportError(
                f"The model cannot be saved, so no process on {way.backend} can write it as "
                f"{format}. {type(error).__name__}: {error}{_advice(model, custom_objects_module)}"
            ) from error
        task = {
            "module": "keras_sac.deployment._conversion_task",
            "model": saved,
            "path": os.path.abspath(path),
            "format": format,
            "index": way.index,
            "classes": custom_objects_module,
            "signature": to_task(signature, str(pathlib.Path(folder, "example.npz"))),
        }
        try:
            run(task, KERAS_BACKEND=way.backend, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        except ChildError as error:
            raise ExportError(
                f"The process on {way.backend} could not write the model as {format}. {error}"
                f"{_advice(model, custom_objects_module)}"
            ) from error


def _advice(model: keras.Model, custom_objects_module: str | None) -> str:
    own = _own_classes(model)
    if not own:
        return ""
    return (
        f"\nThe model has classes of your own: {', '.join(own)}. Each must be registered "
        "(`keras.saving.register_keras_serializable()`), compute with `keras.ops`, and be in a "
        "module that the process can import, not in a script or notebook. Pass the name of the "
        f"module, such as custom_objects_module='my_layers'. Received: {custom_objects_module=}"
    )


def _own_classes(model: keras.Model) -> list[str]:
    """Return the layer classes in a model that belong neither to Keras nor to this package."""
    classes = {type(layer) for layer in all_layers(model)}
    names = {f"{each.__module__}.{each.__qualname__}" for each in classes}
    return sorted(name for name in names if name.split(".")[0] not in {"keras", "keras_sac"})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracers, which warn for every model that Python code runs only once."""
    loggers = {logging.getLogger(name): logging.ERROR for name in ("torch.onnx", "torch.export")}
    # It logs an error and goes on; what it raises in the end is reported.
    loggers[logging.getLogger("tf2onnx")] = logging.CRITICAL
    before = [(logger, logger.level) for logger in loggers]
    try:
        for logger, level in loggers.items():
            logger.setLevel(level)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
