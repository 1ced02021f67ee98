"""The weights of a sparse file: a table, and frames one after the other."""

import dataclasses
import importlib
import pathlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import h5py
import numpy as np

from keras_sac._sparse_array import ArrayHeader, decode, encode

Attributes = dict[str, str | int | float | bool]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One row of the table: the dataset in Keras' HDF5 file, and how its array is coded."""

    path: str
    attributes: Attributes
    header: ArrayHeader

    def to_json(self) -> dict[str, Any]:
        """Return the row for a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: Any) -> "Tensor":
        """Return what `to_json` wrote.

        Raises:
            ValueError: if it cannot have.
        """
        if not isinstance(row, dict) or set(row) != {"path", "attributes", "header"}:
            raise ValueError(f"expected a path, attributes and a header, received {row!r:.200}")
        path = checked_path(row["path"])
        try:
            header = ArrayHeader.from_json(row["header"])
        except ValueError as e:
            raise ValueError(f"{path!r}: {e}") from e
        return cls(path, checked_attributes(path, row["attributes"]), header)


def read_groups(file: h5py.File, optimizers: Iterable[str]) -> dict[str, Attributes]:
    """Return the groups of Keras' HDF5 file and their attributes, but for the optimizers'.

    Args:
        file: open.
        optimizers: names of optimizers whose state may be anywhere in it.
    """
    return {
        path: checked_attributes(path, item.attrs)
        for path, item in _items(file, set(optimizers))
        if isinstance(item, h5py.Group)
    }


def encode_tensors(
    file: h5py.File, optimizers: Iterable[str], stream: IO[bytes], *, float16: bool, level: int
) -> list[Tensor]:
    """Write the frames of all datasets of Keras' HDF5 file, and return the table of them.

    Args:
        file: open.
        optimizers: names of optimizers whose state is left out.
        stream: where the frames go.
        float16: store wider floats as float16.
        level: of zstd.

    Raises:
        ValueError: if a dataset holds no plain numbers, or does not fit into float16.
    """
    table = []
    for path, item in _items(file, set(optimizers)):
        if isinstance(item, h5py.Group):
            continue
        attributes = checked_attributes(path, item.attrs)
        try:
            encoded = encode(_read(item, attributes), float16=float16, level=level)
        except ValueError as e:
            raise ValueError(f"The weight {path!r} cannot be stored. {e}") from e
        for frame in encoded.frames:
            stream.write(frame)
        table.append(Tensor(path, attributes, encoded.header))
    return table


def decode_tensors(
    table: Iterable[Tensor], stream: IO[bytes]
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Yield each tensor of a table with its array, in the order of the table.

    Args:
        table: as `encode_tensors` returned it, whose frames together are as long as the stream.
        stream: of the frames.

    Raises:
        ValueError: if a frame does not hold what the table says.
    """
    for tensor in table:
        frames = [stream.read(length) for length in tensor.header.frames]
        try:
            yield tensor, decode(tensor.header, frames)
        except ValueError as e:
            raise ValueError(f"{tensor.path!r}: {e}") from e


def write_weights(
    path: pathlib.Path,
    groups: dict[str, Attributes],
    arrays: Iterable[tuple[Tensor, np.ndarray]],
) -> None:
    """Write Keras' HDF5 file.

    Args:
        path: of the new file.
        groups: as `read_groups` returned them.
        arrays: as `decode_tensors` yields them.
    """
    with h5py.File(path, "x") as file:
        for name, attributes in groups.items():
            file.require_group(name).attrs.update(attributes)
        for tensor, array in arrays:
            file.create_dataset(tensor.path, data=array).attrs.update(tensor.attributes)


def checked_path(path: Any) -> str:
    """Return the path of a group or dataset.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(path, str) or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"expected a path in an HDF5 file, received {path!r:.200}")
    return path


def checked_attributes(path: str, attributes: Any) -> Attributes:
    """Return attributes as values for JSON.

    Raises:
        ValueError: if they are no single strings, numbers or truth values.
    """
    if not hasattr(attributes, "items"):
        raise ValueError(f"expected attributes of {path!r}, received {attributes!r:.200}")
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in attributes.items()
    }
    if not all(isinstance(value, str | int | float) for value in plain.values()):
        raise ValueError(f"expected strings and numbers for {path!r}, received {plain!r:.200}")
    return plain


def _items(
    file: h5py.File, optimizers: set[str]
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    found: list[tuple[str, Any]] = []
    file.visititems(lambda path, item: found.append((path, item)))
    # The optimizer of the model itself, and of models in it that were trained before.
    states = tuple(
        f"{path}/"
        for path, item in found
        if path == "optimizer"
        or (path.endswith("/optimizer") and item["vars"].attrs["name"] in optimizers)
    )
    yield from (pair for pair in found if not f"{pair[0]}/".startswith(states or "//"))


def _read(dataset: h5py.Dataset, attributes: Attributes) -> np.ndarray:
    array = np.asarray(dataset[()])
    if attributes.get("dtype") == "bfloat16":
        # HDF5 has no such type, and Keras keeps its two bytes. Now NumPy knows the name.
        importlib.import_module("ml_dtypes")
        return array.view("bfloat16")
    return array
