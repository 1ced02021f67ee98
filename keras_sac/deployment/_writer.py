"""Writing a plain model as a file of one format, on the backend at hand."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import keras

from keras_sac._model import noise
from keras_sac._run import engines
from keras_sac.deployment._formats import FORMATS


def write(model: keras.Model, path: str, format: str) -> None:
    """Write a model with `keras.Model.export`, the size of its batches left open.

    Args:
        model: built, of the active backend, without what only training needs.
        path: of the new file or folder.
        format: one of `FORMATS`, which the active backend writes.
    """
    form = FORMATS[format]
    if format == "openvino":
        engines.without_telemetry()
    with _quiet():
        if format == "onnx":
            # Keras exports ONNX of models that were called outside of a compiled function.
            model(noise(model, 1, unknown=32))
        # Keras' stubs know "auto" only.
        model.export(path, format=format, verbose=False, **form.options(model))
    if not os.path.exists(path):
        raise RuntimeError(f"Keras wrote no file for the format {format!r}.")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what tracers say of every model: that Python code runs once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
