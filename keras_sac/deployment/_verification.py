"""Verify that an exported file reproduces the model's outputs and keeps its zeros."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from keras_sac._model import Batch, all_layers, describe
from keras_sac._run import ChildError, FileOutputs, largest_difference, outputs_of_file
from keras_sac.deployment._exported import ExportError
from keras_sac.deployment._signature import Signature

# Allowed difference, relative to the scale of the inputs and to the largest output or to 1,
# whichever is larger.
_SINGLE, _HALF = 1e-5, 1e-2
# Words in the message of an engine -> advice.
_HINTS = {
    "Flex delegate": (
        "LiteRT has no operation for some layer of the model, and its usual builds do not "
        "include TensorFlow's. Recurrent layers work with `unroll=True`, half precision works in "
        "float32. Otherwise export to another format."
    ),
}


def verified(
    path: str,
    model: keras.Model,
    plain: keras.Model,
    batches: Sequence[Batch],
    signature: Signature,
) -> float:
    """Load a file in a process without keras_sac, and compare it with the model.

    Args:
        path: exported file or folder.
        model: model whose outputs the file must reproduce.
        plain: model that was written; the zeros of its kernels must be in the file.
        batches: inputs, and the outputs of `model` for them.
        signature: names of the inputs and outputs.

    Returns:
        The largest difference of an output.

    Raises:
        ExportError: if outputs differ by more than 1e-5 of their scale (1e-2 in half precision), if
            zeros were lost, or if the file cannot be loaded or run.
    """
    try:
        found = outputs_of_file(path, [each.inputs for each in batches], signature.input_names)
    except ChildError as error:
        raise ExportError(
            f"The exported file cannot be run on its own. {error}{_hint(str(error))}"
            f"{_open_axes(signature)}"
        ) from error
    _check_zeros(plain, found.constants)
    try:
        return max(
            _difference(model, batch, _by_name(made, found, signature))
            for batch, made in zip(batches, found.outputs, strict=True)
        )
    except ExportError as error:
        raise ExportError(f"{error}{_open_axes(signature)}") from error


def _hint(error: str) -> str:
    return "".join(f"\n{advice}" for words, advice in _HINTS.items() if words in error)


def _open_axes(signature: Signature) -> str:
    """Name the open axes besides the batch, which converters are most likely to fix."""
    found = [
        f"axis {axis} of the input {name!r}, shape {tuple(spec.shape)}"
        for name, spec in zip(signature.input_names, signature.flat_inputs, strict=True)
        for axis, size in enumerate(spec.shape)
        if axis and size is None
    ]
    if not found:
        return ""
    return (
        f"\nThe converter may have fixed the size of an open axis: {'; '.join(found)}. Give it a "
        "size in `keras.Input`, or export to another format."
    )


def _by_name(made: list[np.ndarray], found: FileOutputs, signature: Signature) -> list[np.ndarray]:
    """Return the outputs of the file in the order of the model's; a file may have more."""
    if set(signature.output_names) <= set(found.names):
        named = dict(zip(found.names, made, strict=True))
        return [named[name] for name in signature.output_names]
    return made[: len(signature.output_names)]


def _difference(model: keras.Model, batch: Batch, made: Sequence[np.ndarray]) -> float:
    expected = keras.tree.flatten(batch.outputs)
    shapes = [each.shape for each in made]
    if [each.shape for each in expected] != shapes:
        raise ExportError(
            f"The file returns outputs of shapes {shapes}; the model returns "
            f"{[each.shape for each in expected]}."
        )
    dtypes = {layer.compute_dtype for layer in all_layers(model)}
    relative = _HALF if dtypes & {"float16", "bfloat16"} else _SINGLE
    pairs = [largest_difference(*pair) for pair in zip(made, expected, strict=True)]
    distance = max([0.0, *(off for off, _ in pairs)])
    tolerance = relative * batch.scale * max([1.0, *(scale for _, scale in pairs)])
    if not distance <= tolerance:
        raise ExportError(
            f"The file's outputs differ from the model's by {distance:.2g}; expected at most "
            f"{tolerance:.2g}."
        )
    return distance


def _check_zeros(plain: keras.Model, constants: Sequence[tuple[int, int]]) -> None:
    in_file = _zeros_by_size(constants)
    expected = _zeros_by_size(kernel_counts(plain))
    rest, lost = 0, 0
    for size, zeros in expected.items():
        there = in_file.pop(size, [])
        # A converter may transpose or reshape a kernel, so kernels are matched by size; among
        # those of one size, the ones with most zeros are compared first.
        for i, wanted in enumerate(zeros):
            if i < len(there):
                lost += max(0, wanted - there[i])
            else:
                rest += wanted
    # Some converters split a kernel into several arrays.
    lost += max(0, rest - sum(sum(zeros) for zeros in in_file.values()))
    if lost:
        raise ExportError(
            f"{lost:,} zeros of the kernels are not zero in the file, so the file would not become "
            "smaller by compression as the pruned model does. Export to another format."
        )


def kernel_counts(model: keras.Model) -> list[tuple[int, int]]:
    """Return the number of weights and of zeros for each kernel of a model."""
    counts = []
    for kernel in describe(model.weights, [model]):
        if kernel.skip_reason is None:
            values = keras.ops.convert_to_numpy(kernel.variable)
            counts.append((values.size, values.size - int(np.count_nonzero(values))))
    return counts


def _zeros_by_size(counts: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for size, zeros in counts:
        found[size].append(zeros)
    return {size: sorted(zeros, reverse=True) for size, zeros in found.items()}
