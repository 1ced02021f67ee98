"""Runs tfmot once for all cases, in a child process: its start takes longer than the training."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.conformance.cases import CASES

CHILD = pathlib.Path(__file__).with_name("tfmot_child.py")


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """Arrays that `tfmot_child.py` wrote: `reference[case name]["mask/first"]` and so on."""
    for package in ("tensorflow-model-optimization", "tf_keras", "tensorflow"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.fail(
                f"The conformance tests compare with tensorflow_model_optimization itself, and "
                f"{package} is not installed. Install it: pip install -e '.[tensorflow,tfmot]'.",
                pytrace=False,
            )
    folder = tmp_path_factory.mktemp("tfmot")
    (folder / "cases.json").write_text(json.dumps([case.to_json() for case in CASES]))
    for case in CASES:
        np.savez(folder / f"{case.name}.in.npz", **case.data())
    # A GPU would multiply in another order, or with fewer bits, than what is compared with it.
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("KERAS_BACKEND", None)
    child = subprocess.run(
        [sys.executable, str(CHILD), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        pytest.fail(f"tfmot_child.py failed:\n{child.stdout}\n{child.stderr}", pytrace=False)
    arrays = {}
    for case in CASES:
        with np.load(folder / f"{case.name}.out.npz") as out:
            arrays[case.name] = dict(out)
    return arrays
