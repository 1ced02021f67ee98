"""What an exported file takes and returns: names, shapes and dtypes."""

import itertools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_sac._model import batch_of, has_symbolic_inputs, input_names, input_specs
from keras_sac._run import engines


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of an exported file, whoever writes it.

    Attributes:
        inputs: a `keras.InputSpec` for each input, in the structure that the model takes; `None` is
            an open axis.
        example: inputs that the model can be traced with, in the same structure.
        input_names: names of the inputs, in the order of `keras.tree.flatten`.
        output_names: names of the outputs, in the order of `keras.tree.flatten`.
        output_shapes: their shapes, in the same order; `None` where the model does not know them.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from keras_sac.deployment import Signature
        >>> spec = keras.InputSpec(shape=(None, 4), dtype="float32", name="features")
        >>> signature = Signature(
        ...     spec, np.zeros((2, 4), "float32"), ["features"], ["scores"], [(None, 3)]
        ... )
        >>> signature.flat_inputs[0].shape
        (None, 4)
    """

    inputs: Any
    example: Any
    input_names: list[str]
    output_names: list[str]
    output_shapes: list[tuple[int | None, ...] | None]

    @property
    def flat_inputs(self) -> list[keras.InputSpec]:
        """The inputs, in the order of their names."""
        return keras.tree.flatten(self.inputs)

    @property
    def flat_example(self) -> list[np.ndarray]:
        """The example, in the order of the names of the inputs."""
        return keras.tree.flatten(self.example)


def signature_of(model: keras.Model, example: Any, outputs: Any) -> Signature:
    """Return the signature of a model.

    Args:
        model: built.
        example: inputs that it can be called with, as NumPy arrays.
        outputs: what it returned for them.
    """
    specs = input_specs(model, example)
    names = input_names(specs)
    # A writer that traces the model takes sizes of one for a fixed size.
    if all(each.shape[0] is None for each in keras.tree.flatten(specs)):
        example = batch_of(example, 2)
    count = len(keras.tree.flatten(outputs))
    shapes: list[Any] = [None] * count
    if has_symbolic_inputs(model):
        made = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
        shapes = [tuple(each.shape) for each in keras.tree.flatten(made)]
    return Signature(specs, example, names, _output_names(model, outputs, names), shapes)


def _output_names(model: keras.Model, outputs: Any, taken: list[str]) -> list[str]:
    if isinstance(outputs, dict) and not any(map(keras.tree.is_nested, outputs.values())):
        names = sorted(map(str, outputs))
    elif isinstance(model, keras.Sequential):
        names = [model.layers[-1].name]
    else:
        # Only a Functional model has them: the names of the layers that made the outputs.
        names = list(getattr(model, "output_names", ()))
    count = len(keras.tree.flatten(outputs))
    if len(names) != count:
        names = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    unique: list[str] = []
    for name in names:
        # Graphs of ONNX give each tensor one name: an output is no input, nor another output.
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        used = {*taken, *unique}
        unique.append(name if name not in used else next(n for n in numbered if n not in used))
    return unique


def to_task(signature: Signature, file: str) -> dict[str, Any]:
    """Return a signature as JSON values for another process, and write its example to a file."""
    engines.save_batch(file, signature.example)
    return {
        "specs": [[list(x.shape), x.dtype, x.name] for x in signature.flat_inputs],
        "structure": engines.numbered(signature.inputs),
        "example": file,
        "input_names": signature.input_names,
        "output_names": signature.output_names,
        "output_shapes": signature.output_shapes,
    }


def from_task(task: dict[str, Any]) -> Signature:
    """Return the signature that `to_task` described."""
    specs = [keras.InputSpec(shape=tuple(s), dtype=d, name=n) for s, d, n in task["specs"]]
    return Signature(
        engines.mapped(lambda number: specs[number], task["structure"]),
        engines.load_batch(task["example"], task["structure"]),
        task["input_names"],
        task["output_names"],
        [None if shape is None else tuple(shape) for shape in task["output_shapes"]],
    )
