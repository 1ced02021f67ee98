"""Header of an encoded array, and its validation."""

import dataclasses
import importlib
import math
from typing import Any

import numpy as np

from keras_sac._arguments import one_of
from keras_sac._sparse_array._values import WIDEST

CODINGS = ("dense", "mask", "gaps")
_MOST_AXES = 64


@dataclasses.dataclass(frozen=True)
class ArrayHeader:
    """Description of an encoded array.

    Args:
        shape: shape of the array.
        dtype: dtype of the array, as `dtype_name` writes it.
        stored: dtype of the stored values: `dtype`, or `"<f2"`.
        coding: `"dense"` if all values are stored; `"mask"` or `"gaps"` for the way in which the
            positions of the values are stored.
        values: number of stored values.
        frames: compressed bytes of the positions (unless dense) and of the values.

    Raises:
        ValueError: if no array can have such a header.
    """

    shape: tuple[int, ...]
    dtype: str
    stored: str
    coding: str
    values: int
    frames: tuple[int, ...]

    def __post_init__(self):
        if not all(_is_count(n) for n in (*self.shape, *self.frames, self.values)):
            raise ValueError(f"Expected lengths as integers >= 0. Received: {self}")
        if len(self.shape) > _MOST_AXES:
            raise ValueError(
                f"`shape` must have at most {_MOST_AXES} axes. Received: {len(self.shape)}"
            )
        one_of("coding", self.coding, CODINGS)
        expected = 1 if self.coding == "dense" else 2
        if len(self.frames) != expected:
            raise ValueError(
                f"`frames` must have {expected} entries for the coding {self.coding!r}. "
                f"Received: {len(self.frames)}"
            )
        if self.values > self.size or (self.coding == "dense" and self.values < self.size):
            raise ValueError(f"{self.values} {self.coding} values do not fit shape {self.shape}.")
        wide = dtype_of(self.dtype)
        if self.stored != self.dtype and not (self.stored == "<f2" and wide.kind == "f"):
            raise ValueError(f"Values of {self.dtype} cannot be stored as {self.stored}.")
        if self.coding != "dense" and wide.itemsize > WIDEST:
            raise ValueError(f"`coding` must be 'dense' for {self.dtype}. Received: {self.coding}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes of the array."""
        return self.size * dtype_of(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Any) -> "ArrayHeader":
        """Return the header that `to_json` wrote.

        Raises:
            ValueError: if fields are missing, unknown or invalid.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or set(fields) != names:
            raise ValueError(f"Expected the fields {sorted(names)}. Received: {fields!r:.200}")
        lists = {name: fields[name] for name in ("shape", "frames")}
        if not all(isinstance(value, list) for value in lists.values()):
            raise ValueError(f"Expected lists of integers. Received: {lists!r:.200}")
        return cls(**{**fields, **{name: tuple(value) for name, value in lists.items()}})


def dtype_name(dtype: np.dtype) -> str:
    """Return the name of a dtype, from which `dtype_of` restores it.

    Raises:
        ValueError: if the dtype is for objects, structures, or strings of any length.
    """
    if dtype.hasobject or dtype.names or not dtype.itemsize:
        raise ValueError(
            f"Expected an array of numbers, booleans, dates or strings of fixed length. Received: "
            f"{dtype!r}. Convert it with `.astype(...)`, or store its fields one by one."
        )
    # For dtypes of `ml_dtypes`, `dtype.str` names only the number of bytes.
    return dtype.name if dtype.isbuiltin == 2 else dtype.str


def dtype_of(name: str) -> np.dtype:
    """Return the dtype with a name that `dtype_name` returned.

    Raises:
        ValueError: if there is no such dtype.
    """
    # The import registers names such as "bfloat16" in NumPy. Keras depends on this package.
    importlib.import_module("ml_dtypes")
    try:
        dtype = np.dtype(name)
    except TypeError as e:
        raise ValueError(f"Expected the name of a NumPy dtype. Received: {name!r} ({e})") from e
    if dtype.subdtype or dtype_name(dtype) != name:
        raise ValueError(f"Expected the dtype name {dtype.str!r}. Received: {name!r}")
    return dtype


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
