"""Inputs of a model, a batch at a time."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_sac._model._raw_batches import raw_batches


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
                f"`data` is {_described(x)} of what are no arrays. Pass `numpy.asarray(x)` for a list "
                "of numbers."
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
        return leaf if leaf is None or keras.ops.is_tensor(leaf) else np.asarray(leaf)

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
