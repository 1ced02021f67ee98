"""Whether an exported file does what the model did, and still has its zeros."""

import itertools
import pathlib
import tempfile
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
from keras_sac._run import ChildError, engines, largest_difference, run
from keras_sac.deployment._errors import ExportError

# Of the largest output, or of 1 where that is less.
_SINGLE, _HALF = 1e-5, 1e-2


def verified(path: str, model: keras.Model, plain: keras.Model, sample: Any) -> float:
    """Load a file where keras_sac is not, and compare it with the model.

    Args:
        path: of the file or folder.
        model: whose outputs the file should have.
        plain: what was written: the zeros of its weights should be in the file.
        sample: inputs, or `None` for random ones.

    Returns:
        The largest difference of an output.

    Raises:
        ExportError: if outputs differ by more than 1e-5 of their scale (1e-2 in half precision), or
            zeros were lost, or the file cannot be loaded or run.
    """
    batches = list(_batches(model, sample))
    with tempfile.TemporaryDirectory() as folder:
        names = [str(pathlib.Path(folder, f"{i}.npz")) for i in range(2 * len(batches))]
        inputs, outputs = names[::2], names[1::2]
        for name, batch in zip(inputs, batches, strict=True):
            np.savez(name, *engines.flat(batch))
        task = {
            "file": engines.__file__,
            "blocked": ["keras_sac"],
            "path": path,
            "inputs": inputs,
            "outputs": outputs,
            "structure": _numbered(batches[0], itertools.count()),
            "names": [each.name for each in engines.flat(symbolic_inputs(model))]
            if has_symbolic_inputs(model)
            else [],
        }
        try:
            constants = run(task, TF_CPP_MIN_LOG_LEVEL="3")["constants"]
        except ChildError as error:
            raise ExportError(
                f"What was written does not run by itself. {error}{_hint(str(error))}"
            ) from error
        found = [_arrays(name) for name in outputs]
    _check_zeros(plain, constants)
    return max(_difference(model, batch, made) for batch, made in zip(batches, found, strict=True))


def _hint(error: str) -> str:
    if "Flex delegate" not in error:
        return ""
    return (
        "\nLiteRT has no operation of its own for some layer, and its usual builds have none of "
        "TensorFlow's. Recurrent layers work with `unroll=True`, half precision in float32. Or "
        "export another format."
    )


def _batches(model: keras.Model, sample: Any) -> Iterable[Any]:
    # Two sizes, so that one that became fixed shows.
    for size in (3, 1):
        if sample is not None:
            yield batch_of(sample, size)
            continue
        batch = noise(model, size, unknown=32)
        yield batch
        if engines.flat(batch)[0].shape[0] != size:
            # The model takes no other.
            return


def _numbered(structure: Any, numbers: Iterator[int]) -> Any:
    # In the order of `flat`.
    if isinstance(structure, dict):
        return {key: _numbered(structure[key], numbers) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_numbered(each, numbers) for each in structure]
    return next(numbers)


def _arrays(name: str) -> list[np.ndarray]:
    with np.load(name) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def _difference(model: keras.Model, batch: Any, made: Sequence[np.ndarray]) -> float:
    outputs = model.predict_on_batch(batch)
    # Some files put out the entries of a dict as it has them, others by their names.
    orders = [engines.flat(outputs)]
    if isinstance(outputs, dict):
        orders.append(engines.flat(list(outputs.values())))
    shapes = [each.shape for each in made]
    fitting = [each for each in orders if [array.shape for array in each] == shapes]
    if not fitting:
        expected = [array.shape for array in orders[0]]
        raise ExportError(f"The file puts out the shapes {shapes}; the model puts out {expected}.")
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
    """Return the largest difference of a number, and the one that is allowed."""
    dtypes = {layer.compute_dtype for layer in all_layers(model)}
    relative = _HALF if dtypes & {"float16", "bfloat16"} else _SINGLE
    pairs = [largest_difference(*pair) for pair in zip(made, expected, strict=True)]
    scale = max([1.0, *(scale for _, scale in pairs)])
    return max([0.0, *(off for off, _ in pairs)]), relative * scale


def _check_zeros(plain: keras.Model, constants: Sequence[Sequence[int]]) -> None:
    in_file = _by_size(constants)
    expected = _by_size(kernel_counts(plain))
    rest, lost = 0, 0
    for size, zeros in expected.items():
        there = in_file.pop(size, [])
        # A kernel may be transposed or reshaped, not changed in size: the fullest first.
        for i, wanted in enumerate(zeros):
            if i < len(there):
                lost += max(0, wanted - there[i])
            else:
                rest += wanted
    # Some converters cut a kernel into several.
    lost += max(0, rest - sum(sum(zeros) for zeros in in_file.values()))
    if lost:
        raise ExportError(
            f"{lost:,} zeros of the weights are no zeros in the file. Without them its size is not "
            "what pruning made it."
        )


def kernel_counts(model: keras.Model) -> list[tuple[int, int]]:
    """Return size and zeros of each kernel of a model."""
    counts = []
    for kernel in describe(model.weights, [model]):
        if kernel.skip_reason is None:
            values = keras.ops.convert_to_numpy(kernel.variable)
            counts.append((values.size, values.size - int(np.count_nonzero(values))))
    return counts


def _by_size(counts: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for size, zeros in counts:
        found[size].append(zeros)
    return {size: sorted(zeros, reverse=True) for size, zeros in found.items()}
