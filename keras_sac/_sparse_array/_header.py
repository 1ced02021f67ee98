"""What is said about a coded array, and what of that cannot be true."""

import dataclasses
import importlib
import math
from typing import Any

import numpy as np

from keras_sac._sparse_array._values import WIDEST

CODINGS = ("dense", "mask", "gaps")
_MOST_AXES = 64


@dataclasses.dataclass(frozen=True)
class ArrayHeader:
    """How an array was coded.

    Args:
        shape: of the array.
        dtype: of the array, as `dtype_name` gives it.
        stored: what its values are stored as: `dtype`, or `"<f2"`.
        coding: `"dense"` (all values), or how the positions of the values are coded: `"mask"`,
            `"gaps"`.
        values: how many values are stored.
        frames: compressed bytes of the positions (but not if dense) and of the values.

    Raises:
        ValueError: if this cannot be said about any array.
    """

    shape: tuple[int, ...]
    dtype: str
    stored: str
    coding: str
    values: int
    frames: tuple[int, ...]

    def __post_init__(self):
        if not all(_is_count(n) for n in (*self.shape, *self.frames, self.values)):
            raise ValueError(f"expected lengths >= 0 as integers, received {self}")
        if len(self.shape) > _MOST_AXES:
            raise ValueError(f"NumPy has no arrays of {len(self.shape)} axes")
        if self.coding not in CODINGS:
            raise ValueError(f"expected one of the codings {CODINGS}, received {self.coding!r}")
        if len(self.frames) != (1 if self.coding == "dense" else 2):
            raise ValueError(f"{len(self.frames)} are not the frames of {self.coding!r}")
        if self.values > self.size or (self.coding == "dense" and self.values < self.size):
            raise ValueError(f"{self.values} {self.coding} values do not fit shape {self.shape}")
        wide = dtype_of(self.dtype)
        if self.stored != self.dtype and not (self.stored == "<f2" and wide.kind == "f"):
            raise ValueError(f"values of {self.dtype} are not stored as {self.stored}")
        if self.coding != "dense" and wide.itemsize > WIDEST:
            raise ValueError(f"no zeros are left out of {self.dtype}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return the fields, for a JSON file."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Any) -> "ArrayHeader":
        """Return what `to_json` wrote.

        Raises:
            ValueError: if fields are missing, unknown, or cannot be true.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or set(fields) != names:
            raise ValueError(f"expected the fields {sorted(names)}, received {fields!r:.200}")
        lists = {name: fields[name] for name in ("shape", "frames")}
        if not all(isinstance(value, list) for value in lists.values()):
            raise ValueError(f"expected lists of integers, received {lists!r:.200}")
        return cls(**{**fields, **{name: tuple(value) for name, value in lists.items()}})


def dtype_name(dtype: np.dtype) -> str:
    """Return a name by which `dtype_of` finds the type again.

    Raises:
        ValueError: if its values have no bytes of their own.
    """
    if dtype.hasobject or dtype.names or not dtype.itemsize:
        raise ValueError(
            f"Expected an array of numbers, booleans, dates or strings of fixed length; received "
            f"{dtype!r}. Convert it with `.astype(...)`, or store its fields one by one."
        )
    # To NumPy, a type of `ml_dtypes` is bytes of some length.
    return dtype.name if dtype.isbuiltin == 2 else dtype.str


def dtype_of(name: str) -> np.dtype:
    """Return the type that `dtype_name` named.

    Raises:
        ValueError: if there is none.
    """
    # Keras depends on it; importing it makes its names known to NumPy.
    importlib.import_module("ml_dtypes")
    try:
        dtype = np.dtype(name)
    except TypeError as e:
        raise ValueError(f"{name!r} is no type of an array ({e})") from e
    if dtype.subdtype or dtype_name(dtype) != name:
        raise ValueError(f"{name!r} is no name of a type; did you mean {dtype.str!r}?")
    return dtype


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
