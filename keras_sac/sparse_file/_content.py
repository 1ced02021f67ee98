"""Convert between the folder that Keras saves and the members of a sparse file."""

import dataclasses
import json
import pathlib
import zipfile
from typing import Any

import h5py
import keras

from keras_sac._version import __version__
from keras_sac.sparse_file._saved_config import plain_config
from keras_sac.sparse_file._weight_table import (
    Attributes,
    Tensor,
    checked_attributes,
    checked_path,
    decode_tensors,
    encode_tensors,
    read_groups,
    write_weights,
)
from keras_sac.sparse_file._zip_container import FORMAT, VERSION, extract, member

# Keras' own names.
H5 = "model.weights.h5"
CONFIG = "config.json"
_METADATA = "metadata.json"
_ASSETS = "assets/"
_HEADER = "header.json"
_FRAMES = "weights.zst"


def write(archive: zipfile.ZipFile, saved: pathlib.Path, *, float16: bool, level: int) -> None:
    """Write a saved model into a sparse file, without its optimizer.

    Args:
        archive: archive of the new file.
        saved: folder with the model, as Keras saves it.
        float16: whether to store wider floats as float16.
        level: compression level of zstd.

    Raises:
        ValueError: if a weight has a dtype that cannot be stored, or does not fit into float16.
    """
    config, optimizers = plain_config(json.loads((saved / CONFIG).read_text("utf-8")))
    frames = member(_FRAMES, (saved / H5).stat().st_size, compressed=False)
    with h5py.File(saved / H5) as file:
        groups = read_groups(file, optimizers)
        with archive.open(frames, "w") as stream:
            table = encode_tensors(file, optimizers, stream, float16=float16, level=level)
    versions = {"keras_sac": __version__, "keras": keras.__version__}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "versions": versions,
        "groups": groups,
        "tensors": [tensor.to_json() for tensor in table],
    }
    # Keras also notes the date. Without it, equal models give equal files.
    metadata = {"keras_version": keras.__version__}
    for name, value in ((_HEADER, header), (CONFIG, config), (_METADATA, metadata)):
        _put(archive, name, json.dumps(value, separators=(",", ":")).encode())
    for asset in sorted(path for path in (saved / _ASSETS).rglob("*") if path.is_file()):
        _put(archive, asset.relative_to(saved).as_posix(), asset.read_bytes())


@dataclasses.dataclass(frozen=True)
class Content:
    """What the header of a sparse file says.

    Attributes:
        groups: groups of Keras' HDF5 file, and their attributes.
        table: its datasets.
        files: other members, which are extracted as they are.
    """

    groups: dict[str, Attributes]
    table: list[Tensor]
    files: set[str]

    @property
    def nbytes(self) -> int:
        """Number of bytes of all arrays."""
        return sum(tensor.header.nbytes for tensor in self.table)


def read_header(archive: zipfile.ZipFile) -> Content:
    """Read what a sparse file holds, without decoding it.

    Raises:
        ValueError: if the content does not have the format of `write`.
    """
    names = set(archive.namelist())
    files = {name for name in names if name.startswith(_ASSETS)} | {CONFIG, _METADATA}
    expected = files | {_HEADER, _FRAMES}
    if names != expected:
        raise ValueError(f"Expected the members {sorted(expected)}. Received: {sorted(names)}")
    groups, table = _header(json.loads(archive.read(_HEADER)))
    frames = archive.getinfo(_FRAMES)
    length = sum(sum(tensor.header.frames) for tensor in table)
    if not frames.file_size == frames.compress_size == length:
        raise ValueError(
            f"The header declares {length} bytes of weights. Received: {frames.file_size} bytes"
        )
    return Content(groups, table, files)


def unpack(archive: zipfile.ZipFile, content: Content, folder: pathlib.Path) -> None:
    """Extract a sparse file into a folder that Keras can load.

    Args:
        archive: archive of the file.
        content: its header.
        folder: folder, without these files.

    Raises:
        ValueError: if a frame is damaged, or does not fit the header.
    """
    for name in content.files:
        extract(archive, name, folder)
    with archive.open(_FRAMES) as stream:
        write_weights(folder / H5, content.groups, decode_tensors(content.table, stream))


def _header(header: Any) -> tuple[dict[str, Attributes], list[Tensor]]:
    match header:
        case {
            "format": str(found),
            "version": int(version),
            "versions": dict(),
            "groups": dict(groups),
            "tensors": list(rows),
        } if (found, version) == (FORMAT, VERSION):
            attributes = {
                checked_path(path): checked_attributes(path, each) for path, each in groups.items()
            }
            return attributes, [Tensor.from_json(row) for row in rows]
        case _:
            raise ValueError(
                f"Expected a header of {FORMAT} {VERSION} with groups and tensors. Received: "
                f"{header!r:.200}"
            )


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(member(name, len(content), compressed=True), content, compresslevel=9)
