"""Iterables of batches: which there are, and how many batches they have."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras


def raw_batches(name: str, data: Any, expected: str) -> tuple[Iterator[Any], int | None]:
    """Return the batches of an iterable as they come, and their number where it is known.

    Args:
        name: of the argument, for the message.
        data: list, generator (consumed once), `tf.data.Dataset`, torch `DataLoader`,
            `keras.utils.PyDataset`, or any other iterable of batches.
        expected: what the argument may be, for the message.

    Raises:
        ValueError: if it is no iterable of batches, or has no end (`repeat()`).
    """
    if isinstance(data, keras.utils.PyDataset):
        steps = data.num_batches
        if steps is None:
            raise ValueError(
                "The PyDataset is infinite (`num_batches` is None). Give it a length: `__len__`."
            )
        # Without an end of its own where it is iterated over.
        return (data[i] for i in range(steps)), steps
    if isinstance(data, str | bytes | dict) or not isinstance(data, Iterable):
        hint = " Call it, to pass the generator itself." if callable(data) else ""
        raise ValueError(f"`{name}` must be {expected}; received {type(data).__name__}.{hint}")
    if hasattr(data, "cardinality") and int(data.cardinality()) == -1:
        raise ValueError("The tf.data.Dataset is infinite. Use `take(n)`, or drop its `repeat()`.")
    try:
        steps = len(data)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        # Generators, and pipelines that do not know their length.
        steps = None
    return iter(data), steps
