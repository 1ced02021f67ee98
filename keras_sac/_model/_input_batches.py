"""Read the inputs of a model batch by batch, as `predict` does."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from keras_sac._model._to_numpy import to_numpy


def input_batches(data: Any, batch_size: int) -> Iterator[tuple[Any, int]]:
    """Read the inputs of a model in order, as `predict` does.

    Args:
        data: an array, or a list, tuple or dict of arrays with as many samples each; or an iterable
            of batches, a batch being `inputs` or a tuple `(inputs, ...)` as for `fit`.
        batch_size: samples in a batch of arrays; the last may have fewer.

    Yields:
        The inputs of a batch, and the number of its samples.

    Raises:
        ValueError: if there is no sample, or the arrays have different numbers of them.
    """
    samples = 0
    for inputs in _parts(data, batch_size):
        count = _count(inputs)
        if count:
            samples += count
            yield inputs, count
    if not samples:
        raise ValueError(
            f"`data` has no samples: {_described(data)}. Expected arrays of shape "
            "(samples, ...), with at least one sample."
        )


def _parts(x: Any, batch_size: int) -> Iterator[Any]:
    if not _is_arrays(x):
        if isinstance(x, list | tuple):
            raise ValueError(
                f"`data` must hold arrays. Received: {_described(x)} of something else. Pass "
                "`numpy.asarray(data)` for a list of numbers."
            )
        expected = "an array, or a list, tuple or dict of arrays, or an iterable of batches"
        yield from map(_inputs_of, raw_batches("data", x, expected)[0])
        return
    arrays = _as_arrays(x)
    for start in range(0, _count(arrays), batch_size):
        # `None` stands for an optional input that is left out.
        yield keras.tree.map_structure(
            lambda array, start=start: None if array is None else array[start : start + batch_size],
            arrays,
        )


def _is_arrays(x: Any) -> bool:
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def _as_arrays(x: Any) -> Any:
    def as_array(leaf: Any) -> Any:
        return leaf if leaf is None or keras.ops.is_tensor(leaf) else to_numpy(leaf)

    return keras.tree.map_structure(as_array, x)


def _inputs_of(batch: Any) -> Any:
    return _as_arrays(batch[0] if isinstance(batch, tuple) else batch)


def _count(inputs: Any) -> int:
    shapes = [tuple(leaf.shape) for leaf in keras.tree.flatten(inputs) if leaf is not None]
    counts = {int(shape[0]) for shape in shapes if shape}
    if len(counts) != 1 or not all(shapes):
        raise ValueError(
            f"The inputs have the shapes {shapes}: expected (samples, ...), with the same number "
            "of samples in each."
        )
    return counts.pop()


def _described(x: Any) -> str:
    shape = getattr(x, "shape", None)
    kind = f"a {type(x).__name__}"
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"


def raw_batches(name: str, data: Any, expected: str) -> tuple[Iterator[Any], int | None]:
    """Return the batches of an iterable as they come, and their number if it is known.

    Args:
        name: of the argument, for the error.
        data: list, generator (consumed once), `tf.data.Dataset`, torch `DataLoader`,
            `keras.utils.PyDataset`, or any other iterable of batches.
        expected: what the argument may be, for the error.

    Raises:
        ValueError: if it is no iterable of batches, or infinite (`repeat()`).
    """
    if isinstance(data, keras.utils.PyDataset):
        steps = data.num_batches
        if steps is None:
            raise ValueError(
                "The PyDataset is infinite (`num_batches` is None). Define its `__len__`."
            )
        # Iterating over it never ends.
        return (data[i] for i in range(steps)), steps
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        hint = " Call it to pass the generator itself." if callable(data) else ""
        raise ValueError(f"`{name}` must be {expected}. Received: {type(data).__name__}.{hint}")
    if hasattr(data, "cardinality") and int(data.cardinality()) == -1:
        raise ValueError(
            "The `tf.data.Dataset` is infinite. Use `take(n)`, or drop its `repeat()`."
        )
    try:
        steps = len(data)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        # Generators, and pipelines that do not know their length.
        steps = None
    return iter(data), steps
