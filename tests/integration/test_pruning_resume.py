"""A killed training resumes with its masks, and gives the same result as without the kill."""

import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NEVER = -1


def train(folder, criterion, kill_in_epoch):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.integration.resume_child",
            str(folder),
            criterion,
            str(kill_in_epoch),
        ],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def result(folder):
    with np.load(folder / "result.npz") as loaded:
        return dict(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["magnitude", "obd"])
def test_killed_and_restarted(tmp_path, criterion):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = train(whole, criterion, NEVER)
    assert done.returncode == 0, done.stderr[-3000:]
    killed = train(broken, criterion, 2)
    assert killed.returncode == -signal.SIGKILL
    assert not (broken / "result.npz").exists()
    resumed = train(broken, criterion, NEVER)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    expected, found = result(whole), result(broken)
    assert found["step"] == 80
    for name, value in expected.items():
        if name.startswith("mask"):
            assert 1 - value.mean() == pytest.approx(0.8, abs=0.01)
            np.testing.assert_array_equal(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-7)
    # Every checkpoint is sparse, and none is dense because a run was killed.
    sparsities = []
    for epoch in range(1, 5):
        saved = keras.models.load_model(broken / f"epoch-{epoch}.keras")
        kernels = [w for w in saved.get_weights() if w.ndim == 2]
        sparsities.append([1 - np.count_nonzero(k) / k.size for k in kernels])
        for mask, kernel in zip(saved.optimizer.masks.values(), kernels, strict=True):
            np.testing.assert_array_equal(kernel != 0, mask)
    assert np.all(np.diff(sparsities, axis=0) >= 0)
    assert np.min(sparsities[0]) > 0.5
