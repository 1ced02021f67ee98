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
    for inputs, _, count in _counted(data, batch_size):
        yield inputs, count


def sample_batches(data: Any, labels: Any, batch_size: int) -> Iterator[tuple[Any, Any, int]]:
    """Read the inputs of a model with their labels, in order.

    Args:
        data: as for `input_batches`; labels are the second entry of a batch that is a tuple.
        labels: an array, or a structure of arrays, beside `data`; `None` if `data` have them, or
            there are none.
        batch_size: samples in a batch of arrays; the last may have fewer.

    Yields:
        The inputs of a batch, their labels or `None`, and the number of samples.

    Raises:
        ValueError: if there is no sample, the arrays have different numbers of them, or labels are
            given twice.
    """
    if labels is not None:
        labels = _as_arrays(labels)
        if not all(getattr(x, "shape", ()) for x in keras.tree.flatten(labels) if x is not None):
            raise ValueError(
                "`y` must hold arrays of shape (samples, ...). Received: "
                f"{_described(labels)} of something else. Pass `numpy.asarray(y)`."
            )
    samples = 0
    for inputs, own, count in _counted(data, batch_size):
        if own is not None and labels is not None:
            raise ValueError("Labels were passed twice: in `data` and as `y`. Drop one of them.")
        if labels is not None:
            own = _slice(labels, samples, count)
        if own is not None and _count(own) != count:
            raise ValueError(_other_length(samples, count, _count(own)))
        samples += count
        yield inputs, own, count
    if labels is not None and _count(labels) != samples:
        raise ValueError(_other_length(0, samples, _count(labels)))


def _counted(data: Any, batch_size: int) -> Iterator[tuple[Any, Any, int]]:
    """Yield inputs, labels or `None`, and the number of samples; skip empty batches."""
    samples = 0
    for inputs, labels in _parts(data, batch_size):
        count = _count(inputs)
        if count:
            samples += count
            yield inputs, labels, count
    if not samples:
        raise ValueError(
            f"`data` has no samples: {_described(data)}. Expected arrays of shape "
            "(samples, ...), with at least one sample."
        )


def _other_length(first: int, samples: int, labels: int) -> str:
    return (
        "`y` must have one entry for each sample. Received: "
        f"{labels} labels for the {samples} samples from {first} on."
    )


def _parts(x: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
    if not _is_arrays(x):
        if isinstance(x, list | tuple):
            raise ValueError(
                f"`data` must hold arrays. Received: {_described(x)} of something else. Pass "
                "`numpy.asarray(data)` for a list of numbers."
            )
        expected = "an array, or a list, tuple or dict of arrays, or an iterable of batches"
        yield from map(_inputs_and_labels, raw_batches("data", x, expected)[0])
        return
    arrays = _as_arrays(x)
    for start in range(0, _count(arrays), batch_size):
        yield _slice(arrays, start, batch_size), None


def _slice(arrays: Any, start: int, count: int) -> Any:
    # `None` stands for an optional input that is left out.
    return keras.tree.map_structure(
        lambda array: None if array is None else array[start : start + count], arrays
    )


def _is_arrays(x: Any) -> bool:
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") for leaf in leaves)


def _as_arrays(x: Any) -> Any:
    def as_array(leaf: Any) -> Any:
        return leaf if leaf is None or keras.ops.is_tensor(leaf) else to_numpy(leaf)

    return keras.tree.map_structure(as_array, x)


def _inputs_and_labels(batch: Any) -> tuple[Any, Any]:
    # As in Keras: torch's `DataLoader` makes lists of what a data set has as tuples.
    if isinstance(batch, list | tuple):
        inputs, labels = batch[0], batch[1] if len(batch) > 1 else None
        return _as_arrays(inputs), None if labels is None else _as_arrays(labels)
    return _as_arrays(batch), None


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
