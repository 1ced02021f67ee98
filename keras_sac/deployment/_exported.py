"""What `export` returns."""

import dataclasses
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written; it can be passed wherever a path can.

    Attributes:
        path: of the file or folder.
        format: its format.
        backend: which wrote it.
        bytes: that it takes.
        merged: one row for each SAC layer, as `merge_sac` reports them.
        weights: in the kernels, as `sparsity` counts them.
        zeros: how many of them are zero.
        largest_difference: of an output from the model's; `None` where it was not verified.

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
    merged: "pd.DataFrame | None"
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
    """Return the bytes of a file, or of all files in a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )
