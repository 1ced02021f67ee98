"""Store batches of samples as named arrays, with their structure as JSON values."""

from typing import Any

import keras
import numpy as np

Batch = tuple[Any, Any, int]


def samples_to_arrays(batches: list[Batch]) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return the arrays of all batches by name, and for each batch what they are put together to.

    Raises:
        ValueError: if a structure holds something else than lists, tuples, dicts and arrays.
    """
    arrays: dict[str, Any] = {}
    described = []
    for index, (inputs, labels, count) in enumerate(batches):
        parts = [
            _described(each, f"samples/{index}/{name}", arrays)
            for name, each in (("x", inputs), ("y", labels))
        ]
        described.append([*parts, count])
    return arrays, described


def samples_from_arrays(arrays: dict[str, Any], described: list[list[Any]]) -> list[Batch]:
    """Return the batches, and take their arrays out of `arrays`."""
    found = [
        (_restored(inputs, arrays), _restored(labels, arrays), int(count))
        for inputs, labels, count in described
    ]
    for name in [each for each in arrays if each.startswith("samples/")]:
        del arrays[name]
    return found


def _described(structure: Any, name: str, arrays: dict[str, Any]) -> Any:
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {"dict": [[k, _described(v, f"{name}/{k}", arrays)] for k, v in structure.items()]}
    if isinstance(structure, list | tuple):
        kind = "list" if isinstance(structure, list) else "tuple"
        return {kind: [_described(v, f"{name}/{i}", arrays) for i, v in enumerate(structure)]}
    values = np.asarray(structure)
    if values.dtype == object:  # texts of any length
        kinds = {type(each) for each in values.reshape(-1)}
        if kinds in ({bytes}, {str}):
            values = values.astype(kinds.pop())
    if values.dtype.kind not in "biufUS":
        raise ValueError(
            f"A calibration cannot save samples of the type {values.dtype}. Convert the inputs to "
            f"numbers or texts of {keras.backend.floatx()} or of integers first."
        )
    arrays[name] = values
    return name


def _restored(described: Any, arrays: dict[str, Any]) -> Any:
    if described is None:
        return None
    if isinstance(described, str):
        return arrays[described]
    (kind, parts), *_ = described.items()
    if kind == "dict":
        return {key: _restored(part, arrays) for key, part in parts}
    found = [_restored(part, arrays) for part in parts]
    return found if kind == "list" else tuple(found)
