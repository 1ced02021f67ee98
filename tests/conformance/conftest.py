"""Runs tfmot once for all cases, in a child process: its start takes longer than the training."""

import hashlib
import importlib.metadata
import json
import pathlib
import tempfile

import numpy as np
import pytest

from tests.children import python
from tests.conformance import cases

CHILD = pathlib.Path(__file__).with_name("tfmot_child.py")
PACKAGES = ("tensorflow-model-optimization", "tf_keras", "tensorflow", "numpy")


@pytest.fixture(scope="session")
def reference(pytestconfig):
    """Arrays that `tfmot_child.py` wrote: `reference[case name]["mask/first"]` and so on.

    They are kept for the runs on the other backends, until something that makes them changes.
    """
    known = hashlib.sha256(json.dumps({name: _version(name) for name in PACKAGES}).encode())
    for source in (CHILD, pathlib.Path(cases.__file__)):
        known.update(source.read_bytes())
    folder = pytestconfig.cache.mkdir("tfmot") / known.hexdigest()
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
            new = pathlib.Path(parent, "cases")
            new.mkdir()
            _train(new)
            new.rename(folder)
    arrays = {}
    for case in cases.CASES:
        with np.load(folder / f"{case.name}.out.npz") as out:
            arrays[case.name] = dict(out)
    return arrays


def _train(folder):
    (folder / "cases.json").write_text(json.dumps([case.to_json() for case in cases.CASES]))
    for case in cases.CASES:
        np.savez(folder / f"{case.name}.in.npz", **case.data())
    # A GPU would multiply in another order, or with fewer bits, than what is compared with it.
    python(CHILD, folder, KERAS_BACKEND=None, TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="-1")


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.fail(
            f"The conformance tests compare with tensorflow_model_optimization itself, and "
            f"{package} is not installed. Install it: pip install -e '.[tensorflow,tfmot]'.",
            pytrace=False,
        )
