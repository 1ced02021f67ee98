"""Encode the weights of Keras' HDF5 file as a table and a stream of frames, and decode them."""

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
    """One row of the table: a dataset of Keras' HDF5 file, and the header of its encoded array.

    Attributes:
        path: path of the dataset in the HDF5 file.
        attributes: attributes of the dataset.
        header: header of the encoded array.
    """

    path: str
    attributes: Attributes
    header: ArrayHeader

    def to_json(self) -> dict[str, Any]:
        """Return the row as a dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, row: Any) -> "Tensor":
        """Return the row that `to_json` wrote.

        Raises:
            ValueError: if the row is invalid.
        """
        if not isinstance(row, dict) or set(row) != {"path", "attributes", "header"}:
            raise ValueError(f"Expected a path, attributes and a header. Received: {row!r:.200}")
        path = checked_path(row["path"])
        try:
            header = ArrayHeader.from_json(row["header"])
        except ValueError as e:
            raise ValueError(f"{path!r}: {e}") from e
        return cls(path, checked_attributes(path, row["attributes"]), header)


def read_groups(file: h5py.File, optimizers: Iterable[str]) -> dict[str, Attributes]:
    """Return the groups of Keras' HDF5 file and their attributes, except those of optimizers.

    Args:
        file: open HDF5 file.
        optimizers: names of the optimizers whose states are skipped.
    """
    return {
        path: checked_attributes(path, item.attrs)
        for path, item in _items(file, set(optimizers))
        if isinstance(item, h5py.Group)
    }


def encode_tensors(
    file: h5py.File, optimizers: Iterable[str], stream: IO[bytes], *, float16: bool, level: int
) -> list[Tensor]:
    """Write the frames of all datasets of Keras' HDF5 file, and return their table.

    Args:
        file: open HDF5 file.
        optimizers: names of the optimizers whose states are skipped.
        stream: stream to write the frames to.
        float16: whether to store wider floats as float16.
        level: compression level of zstd.

    Raises:
        ValueError: if a dataset has a dtype that cannot be stored, or does not fit into float16.
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
    """Yield each row of a table with its array, in the order of the table.

    Args:
        table: rows whose frames are together as long as the stream.
        stream: stream of the frames.

    Raises:
        ValueError: if a frame does not fit its row.
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
    """Write Keras' HDF5 file of weights.

    Args:
        path: new file.
        groups: groups and their attributes, as `read_groups` returns them.
        arrays: rows with their arrays, as `decode_tensors` yields them.
    """
    with h5py.File(path, "x") as file:
        for name, attributes in groups.items():
            file.require_group(name).attrs.update(attributes)
        for tensor, array in arrays:
            file.create_dataset(tensor.path, data=array).attrs.update(tensor.attributes)


def checked_path(path: Any) -> str:
    """Return `path` if it can be the path of a group or dataset.

    Raises:
        ValueError: if it cannot.
    """
    if not isinstance(path, str) or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError(f"Expected a path in an HDF5 file. Received: {path!r:.200}")
    return path


def checked_attributes(path: str, attributes: Any) -> Attributes:
    """Return the attributes of a group or dataset as JSON values.

    Raises:
        ValueError: if a value is no string, number or boolean.
    """
    if not hasattr(attributes, "items"):
        raise ValueError(f"Expected attributes of {path!r}. Received: {attributes!r:.200}")
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in attributes.items()
    }
    if not all(isinstance(value, str | int | float) for value in plain.values()):
        raise ValueError(f"Expected strings and numbers for {path!r}. Received: {plain!r:.200}")
    return plain


def _items(
    file: h5py.File, optimizers: set[str]
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    found: list[tuple[str, Any]] = []
    file.visititems(lambda path, item: found.append((path, item)))
    # The optimizer of the model itself, and those of models inside it that were trained earlier.
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
        # HDF5 has no bfloat16, so Keras stores two bytes. The import makes NumPy know the name.
        importlib.import_module("ml_dtypes")
        return array.view("bfloat16")
    return array
