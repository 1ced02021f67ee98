"""The exported formats: their file endings, and the backends that write them."""

import importlib.util
from typing import Any

import keras

from keras_sac._model import has_symbolic_inputs, noise, symbolic_inputs
from keras_sac._run import engines


class Format:
    """An exported format: how its files end, which backends write it, and how.

    `keras.Model.export` writes the formats of Keras. A format of your own overrides `write`.

    Args:
        name: what users pass as `format=`; for formats of Keras, the name in `keras.Model.export`.
        suffix: ending of the path; `""` for a folder.
        writers: backend -> the package that it needs for the format; the backend to install comes
            first.

    Examples:
        >>> from keras_sac.deployment import Format
        >>> class Weights(Format):
        ...     def write(self, model, path):
        ...         model.save_weights(path)
        >>> Weights("weights", ".h5", {"torch": "h5py"}).suffix
        '.h5'
    """

    def __init__(self, name: str, suffix: str, writers: dict[str, str]):
        self.name = name
        self.suffix = suffix
        self.writers = dict(writers)

    def write(self, model: keras.Model, path: str) -> None:
        """Write a model on the active backend, with an open batch size.

        Args:
            model: built model of stock layers, without pruning optimizer.
            path: new file or folder.
        """
        # Keras' type stubs allow only "auto" for `verbose`.
        model.export(path, format=self.name, verbose=False, **self.options(model))

    def options(self, model: keras.Model) -> dict[str, Any]:
        """Return the options of `keras.Model.export` that leave the batch size open."""
        return {}


class Onnx(Format):
    """ONNX, through `keras.Model.export`."""

    def write(self, model: keras.Model, path: str) -> None:
        """Call the model once before: Keras needs that for ONNX, outside of a compiled function."""
        model(noise(model, 1, unknown=32))
        super().write(model, path)


class OpenVino(Format):
    """OpenVINO, through `keras.Model.export`."""

    def write(self, model: keras.Model, path: str) -> None:
        """Import OpenVINO without its telemetry before."""
        engines.without_telemetry()
        super().write(model, path)


class TorchExport(Format):
    """`torch.export`, through `keras.Model.export`."""

    def options(self, model: keras.Model) -> dict[str, Any]:
        """Return the dynamic shapes, which `torch.export` needs."""
        import torch

        batch = torch.export.Dim("batch", min=1)

        def axes(shape: Any) -> dict[int, Any]:
            others = {i: torch.export.Dim.AUTO for i, n in enumerate(shape) if i and n is None}
            return {0: batch, **others}

        if not has_symbolic_inputs(model):
            return {"dynamic_shapes": {0: batch}}
        shapes = keras.tree.map_structure(lambda x: axes(x.shape), symbolic_inputs(model))
        # Keras calls the model with one argument, so the tuple of arguments has one entry.
        return {"dynamic_shapes": [(shapes,)]}


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("tf_saved_model", "", {"tensorflow": "tensorflow"}),
        Onnx("onnx", ".onnx", {"torch": "onnx", "tensorflow": "tf2onnx"}),
        Format("litert", ".tflite", {"tensorflow": "tensorflow"}),
        OpenVino("openvino", ".xml", {"tensorflow": "openvino", "torch": "openvino"}),
        TorchExport("torch", ".pt2", {"torch": "torch"}),
    )
}


def register_format(form: Format) -> None:
    """Let `export` write a format of your own.

    `export(..., verify=True)` can check formats that an engine of keras_sac reads (see `latency`);
    pass `verify=False` for others. A format is written in this process, so the active backend must
    be one of its writers.

    Args:
        form: the format. Its name must be new.

    Raises:
        ValueError: if it is no `Format`, or a format with its name exists.

    Examples:
        >>> import keras
        >>> from keras_sac.deployment import Format, register_format
        >>> class Json(Format):
        ...     def write(self, model, path):
        ...         with open(path, "w") as file:
        ...             file.write(model.to_json())
        >>> register_format(Json("json", ".json", {keras.backend.backend(): "keras"}))
    """
    if not isinstance(form, Format):
        raise ValueError(f"`form` must be a `keras_sac.deployment.Format`. Received: {form!r}")
    if form.name in FORMATS:
        raise ValueError(f"The name of a format must be new. Received: {form.name!r}")
    FORMATS[form.name] = form


def writers(form: Format) -> list[str]:
    """Return the installed backends that write a format; the active backend comes first.

    Raises:
        ImportError: if none is installed; the message says what to install.
    """
    active = keras.config.backend()
    found = [
        backend
        for backend in sorted(form.writers, key=lambda backend: backend != active)
        if _installed(backend) and _installed(form.writers[backend])
    ]
    if not found:
        needs = [list(dict.fromkeys(each)) for each in form.writers.items()]
        raise ImportError(
            f"The format {form.name!r} is written by {' or by '.join(map(' with '.join, needs))}, "
            "whatever the backend of the model, and that is not installed here. Install it: "
            f"`pip install {' '.join(needs[0])}`."
        )
    return found


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
