"""The result of `export`: a record of the file, or an error."""

import dataclasses
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class ExportError(RuntimeError):
    """Raised when an export fails. The destination is unchanged.

    Examples:
        >>> import keras
        >>> from keras_sac import export
        >>> from keras_sac.deployment import ExportError
        >>> issubclass(ExportError, RuntimeError)
        True
    """


@dataclasses.dataclass(frozen=True)
class Exported:
    """Record of an exported file; it can be used wherever a path can.

    Attributes:
        path: path of the file or folder.
        format: its format.
        backend: backend that wrote the file.
        bytes: size of the file, or of all files in the folder.
        merged: report of `merge_sac`, one row for each SAC layer; `None` if there are none, or they
            are in a subclassed model.
        weights: number of kernel weights, as `sparsity` counts them.
        zeros: number of kernel weights that are zero.
        largest_difference: largest difference of an output from the model's output; `None` if the
            file was not verified.

    Examples:
        >>> import os
        >>> from keras_sac.deployment import Exported
        >>> os.fspath(Exported("m.onnx", "onnx", "torch", 4096, None, 1000, 800, 1e-7))
        'm.onnx'
    """

    path: str
    format: str
    backend: str
    bytes: int
    # A table would make many lines of the representation.
    merged: "pd.DataFrame | None" = dataclasses.field(repr=False)
    weights: int
    zeros: int
    largest_difference: float | None

    def __fspath__(self) -> str:
        return self.path

    def __str__(self) -> str:
        parts = [
            f"{self.path}: {self.format} written on {self.backend}, {self.bytes:,} bytes",
            f"{self.zeros:,} of {self.weights:,} kernel weights zero",
        ]
        if self.merged is not None and len(self.merged):
            parts.append(
                f"{int(self.merged['merged'].sum())} of {len(self.merged)} SAC layers merged"
            )
        if self.largest_difference is None:
            parts.append("not verified")
        else:
            parts.append(f"outputs within {self.largest_difference:.1e} of the model's")
        return "; ".join(parts)


def size_of(path: str | os.PathLike[str]) -> int:
    """Return the size in bytes of a file, or of all files in a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )
