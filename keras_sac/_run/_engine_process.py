"""Run an exported file in a process that cannot import keras_sac, and return its outputs."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_sac._run._child_process import run
from keras_sac._run._engines import numbered, save_batch

_ENGINES = pathlib.Path(__file__).with_name("_engines.py")


class FileOutputs(NamedTuple):
    """What an exported file returned and what it holds.

    Attributes:
        outputs: for each batch, the list of output arrays.
        names: names of the outputs; empty if the format has none.
        constants: number of elements and of zeros for each array stored in the file.
    """

    outputs: list[list[np.ndarray]]
    names: list[str]
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
            save_batch(file, batch)
        task = {
            "file": str(_ENGINES),
            "blocked": ["keras_sac"],
            "path": path,
            "inputs": inputs,
            "outputs": outputs,
            "structure": numbered(batches[0]),
            "names": list(names),
        }
        # Without a GPU, whose products may be in TF32.
        found = run(task, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        return FileOutputs(
            [_arrays(file) for file in outputs],
            found["names"],
            [(n, k) for n, k in found["constants"]],
        )


def _arrays(file: str) -> list[np.ndarray]:
    with np.load(file) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]
