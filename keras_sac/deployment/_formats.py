"""The exported formats: their file endings, and the backends that write them."""

import dataclasses
import importlib.util
from typing import Any

import keras

from keras_sac._model import has_symbolic_inputs, symbolic_inputs


@dataclasses.dataclass(frozen=True)
class Format:
    """One format of exported files.

    Args:
        name: name of the format in `keras.Model.export`.
        suffix: ending of the path; `""` for a folder.
        writers: package that each writing backend needs for the format; the backend to install
            comes first.
    """

    name: str
    suffix: str
    writers: dict[str, str]

    def options(self, model: keras.Model) -> dict[str, Any]:
        """Return the options of `keras.Model.export` that leave the batch size open."""
        if self.name != "torch":
            return {}
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


FORMATS = {
    each.name: each
    for each in (
        Format("tf_saved_model", "", {"tensorflow": "tensorflow"}),
        Format("onnx", ".onnx", {"torch": "onnx", "tensorflow": "tf2onnx"}),
        Format("litert", ".tflite", {"tensorflow": "tensorflow"}),
        Format("openvino", ".xml", {"tensorflow": "openvino", "torch": "openvino"}),
        Format("torch", ".pt2", {"torch": "torch"}),
    )
}


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
