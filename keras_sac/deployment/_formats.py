"""The formats: how their files end, and which backends write them."""

import dataclasses
import importlib.util
from typing import Any

import keras

from keras_sac._model import has_symbolic_inputs, symbolic_inputs


@dataclasses.dataclass(frozen=True)
class Format:
    """One format of exported files.

    Args:
        name: as `keras.Model.export` calls it.
        suffix: of its path; a folder has none.
        writers: the backends that write it, and the package that each needs for it; the first is
            the one to install.
    """

    name: str
    suffix: str
    writers: dict[str, str]

    def options(self, model: keras.Model) -> dict[str, Any]:
        """Return what `keras.Model.export` has to be told so that the batch size stays open."""
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
        # As Keras calls the model: its only argument in the tuple of all arguments.
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
    """Return the backends that write a format here: the active one first if it does.

    Raises:
        ImportError: if there is none, with what to install.
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
            f"The format {form.name!r} is written, from a model of any backend, by "
            f"{' or by '.join(map(' with '.join, needs))}, which is not installed here. Install it:"
            f" `pip install {' '.join(needs[0])}`."
        )
    return found


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
