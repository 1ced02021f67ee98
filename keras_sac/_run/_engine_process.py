"""Run an exported file in a process that cannot import keras_sac, and return its outputs."""

import itertools
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_sac._run._child_process import run
from keras_sac._run._engines import flat

_ENGINES = pathlib.Path(__file__).with_name("_engines.py")


class FileOutputs(NamedTuple):
    """What an exported file returned and what it holds.

    Attributes:
        outputs: for each batch, the list of output arrays.
        constants: number of elements and of zeros for each array stored in the file.
    """

    outputs: list[list[np.ndarray]]
    constants: list[tuple[int, int]]


def outputs_of_file(path: str, batches: Sequence[Any], names: Sequence[str]) -> FileOutputs:
    """Run an exported file on batches of inputs, in another process and without keras_sac.

    Args:
        path: exported file or folder.
        batches: inputs with one structure: arrays, or lists and dicts of arrays.
        names: names of the inputs, in the order of `engines.flat`; empty if they are unknown.

    Raises:
        ChildError: if the file cannot be loaded or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder, f"{i}.npz")) for i in range(2 * len(batches))]
        inputs, outputs = files[::2], files[1::2]
        for file, batch in zip(inputs, batches, strict=True):
            np.savez(file, *flat(batch))
        task = {
            "file": str(_ENGINES),
            "blocked": ["keras_sac"],
            "path": path,
            "inputs": inputs,
            "outputs": outputs,
            "structure": _numbered(batches[0], itertools.count()),
            "names": list(names),
        }
        constants = run(task, TF_CPP_MIN_LOG_LEVEL="3")["constants"]
        return FileOutputs([_arrays(file) for file in outputs], [(n, k) for n, k in constants])


def _numbered(structure: Any, numbers: Iterator[int]) -> Any:
    # In the order of `flat`.
    if isinstance(structure, dict):
        return {key: _numbered(structure[key], numbers) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return [_numbered(each, numbers) for each in structure]
    return next(numbers)


def _arrays(file: str) -> list[np.ndarray]:
    with np.load(file) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
