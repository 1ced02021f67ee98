"""Verify that an exported file reproduces the model's outputs and keeps its zeros."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model import (
    all_layers,
    batch_of,
    describe,
    has_symbolic_inputs,
    noise,
    symbolic_inputs,
)
from keras_sac._run import ChildError, engines, largest_difference, outputs_of_file
from keras_sac.deployment._exported import ExportError

# Allowed difference, relative to the largest output or to 1, whichever is larger.
_SINGLE, _HALF = 1e-5, 1e-2


def verified(path: str, model: keras.Model, plain: keras.Model, sample: Any) -> float:
    """Load a file in a process without keras_sac, and compare it with the model.

    Args:
        path: exported file or folder.
        model: model whose outputs the file must reproduce.
        plain: model that was written; the zeros of its kernels must be in the file.
        sample: inputs, or `None` for random ones.

    Returns:
        The largest difference of an output.

    Raises:
        ExportError: if outputs differ by more than 1e-5 of their scale (1e-2 in half precision), if
            zeros were lost, or if the file cannot be loaded or run.
    """
    batches = list(_batches(model, sample))
    names = []
    if has_symbolic_inputs(model):
        names = [each.name for each in engines.flat(symbolic_inputs(model))]
    try:
        found = outputs_of_file(path, batches, names)
    except ChildError as error:
        raise ExportError(
            f"The exported file cannot be run on its own. {error}{_hint(str(error))}"
        ) from error
    _check_zeros(plain, found.constants)
    pairs = zip(batches, found.outputs, strict=True)
    return max(_difference(model, batch, outputs) for batch, outputs in pairs)


def _hint(error: str) -> str:
    if "Flex delegate" not in error:
        return ""
    return (
        "\nLiteRT has no operation for some layer of the model, and its usual builds do not "
        "include TensorFlow's. Recurrent layers work with `unroll=True`, half precision works in "
        "float32. Otherwise export to another format."
    )


def _batches(model: keras.Model, sample: Any) -> Iterator[Any]:
    # Two sizes reveal a batch size that the converter fixed.
    for size in (3, 1):
        if sample is not None:
            yield batch_of(sample, size)
            continue
        batch = noise(model, size, unknown=32)
        yield batch
        if engines.flat(batch)[0].shape[0] != size:
            # The model itself has a fixed batch size.
            return


def _difference(model: keras.Model, batch: Any, made: Sequence[np.ndarray]) -> float:
    outputs = model.predict_on_batch(batch)
    # Formats order the entries of a dict either by name or as the model does.
    orders = [engines.flat(outputs)]
    if isinstance(outputs, dict):
        orders.append(engines.flat(list(outputs.values())))
    shapes = [each.shape for each in made]
    fitting = [each for each in orders if [array.shape for array in each] == shapes]
    if not fitting:
        expected = [array.shape for array in orders[0]]
        raise ExportError(
            f"The file returns outputs of shapes {shapes}; the model returns {expected}."
        )
    distance, tolerance = min(_distance(model, each, made) for each in fitting)
    if not distance <= tolerance:
        raise ExportError(
            f"The file's outputs differ from the model's by {distance:.2g}; expected at most "
            f"{tolerance:.2g}."
        )
    return distance


def _distance(
    model: keras.Model, expected: Sequence[np.ndarray], made: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Return the largest difference of the outputs, and the largest one allowed."""
    dtypes = {layer.compute_dtype for layer in all_layers(model)}
    relative = _HALF if dtypes & {"float16", "bfloat16"} else _SINGLE
    pairs = [largest_difference(*pair) for pair in zip(made, expected, strict=True)]
    scale = max([1.0, *(scale for _, scale in pairs)])
    return max([0.0, *(off for off, _ in pairs)]), relative * scale


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
