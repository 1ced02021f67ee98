"""Write a calibration to an `.npz` file, and read it."""

import dataclasses
import json
import os
from typing import Any

import numpy as np

from keras_sac._io import InvalidFileError, read_npz, write_npz
from keras_sac.bases import Moments
from keras_sac.calibration._input_moments import RowSketch
from keras_sac.calibration._sample_store import Batch, samples_from_arrays, samples_to_arrays

_FORMAT = "keras_sac calibration 1"
Source = Moments | RowSketch


@dataclasses.dataclass
class Content:
    """What is in the file of a calibration.

    Attributes:
        fingerprint: of the model.
        keys: of the observed kernels, in order.
        reasons: why each other kernel is not observed.
        loss: mean loss of the samples; `None` without labels.
        batches: the samples.
        moments: of the inputs of each kernel and group.
        gradients: of each kernel that has them.
    """

    fingerprint: str
    keys: list[str]
    reasons: dict[str, str]
    loss: float | None
    batches: list[Batch]
    moments: dict[str, list[Source]]
    gradients: dict[str, Moments]


def write_calibration(path: str | os.PathLike[str], content: Content) -> None:
    """Write the file, whole or not at all; an old one is replaced."""
    arrays, described = samples_to_arrays(content.batches)
    for index, key in enumerate(content.keys):
        for group, source in enumerate(content.moments[key]):
            arrays |= {f"{index}/{group}/{name}": x for name, x in _parts(source).items()}
        if key in content.gradients:
            parts = _parts(content.gradients[key])
            arrays |= {f"{index}/gradients/{name}": x for name, x in parts.items()}
    facts = {
        "fingerprint": content.fingerprint,
        "kernels": content.keys,
        "reasons": content.reasons,
        "loss": content.loss,
        "samples": described,
    }
    write_npz(path, _FORMAT, {**arrays, "facts": np.array(json.dumps(facts))})


def read_calibration(path: str | os.PathLike[str]) -> Content:
    """Read the file.

    Raises:
        InvalidFileError: if it is damaged, or no calibration.
    """
    arrays = read_npz(path, _FORMAT)
    try:
        facts = json.loads(str(arrays.pop("facts")))
        batches = samples_from_arrays(arrays, facts["samples"])
        sources: dict[str, dict[str, Source]] = {}
        for place, parts in _grouped(arrays).items():
            index, _, part = place.partition("/")
            sources.setdefault(facts["kernels"][int(index)], {})[part] = _source(parts)
        gradients = {
            key: each.pop("gradients") for key, each in sources.items() if "gradients" in each
        }
        return Content(
            str(facts["fingerprint"]),
            list(facts["kernels"]),
            dict(facts["reasons"]),
            None if facts["loss"] is None else float(facts["loss"]),
            batches,
            {key: [each[str(i)] for i in range(len(each))] for key, each in sources.items()},
            {key: each for key, each in gradients.items() if isinstance(each, Moments)},
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InvalidFileError(
            f"{os.fspath(path)!r} is no complete calibration ({type(error).__name__}: {error}). "
            "Save it again."
        ) from error


def _parts(source: Source) -> dict[str, np.ndarray]:
    name = "factor" if isinstance(source, RowSketch) else "scatter"
    matrix = source.factor if isinstance(source, RowSketch) else source.scatter
    return {"count": np.array(source.count), "mean": source.mean, name: matrix}


def _source(parts: dict[str, Any]) -> Source:
    return (RowSketch if "factor" in parts else Moments).from_parts(**parts)


def _grouped(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in arrays.items():
        place, _, part = name.rpartition("/")
        found.setdefault(place, {})[part] = int(value) if part == "count" else value
    return found
