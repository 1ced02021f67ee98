"""What the benchmarks measure: finished work, and only the backends that were asked for."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from bench_pruning import tables
from compiled import compiled
from sparsemax_child import by_sorting, runs

from keras_sac import sparsemax
from tests.heads import reference

# Runs a benchmark where TensorFlow cannot be imported.
WITHOUT_TENSORFLOW = """
import runpy, sys
for name in ("tensorflow", "tf_keras", "tensorflow_model_optimization"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, "benchmarks")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="`synchronize` is torch's")
def test_a_gpu_is_waited_for(monkeypatch):
    import torch

    class OnCuda(torch.Tensor):
        @property
        def device(self):
            return torch.device("cuda")

    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(True))
    double = compiled(lambda x, y: x + y)
    double(torch.ones(2), torch.ones(2))
    assert waited == []
    double(torch.ones(2).as_subclass(OnCuda), torch.ones(2))
    assert waited == [True]


@pytest.mark.parametrize("function", [sparsemax, by_sorting])
def test_both_passes_of_the_benchmark_of_sparsemax(function, rng):
    x, g = rng.normal(size=(2, 5, 30)).astype("float32")
    both = runs(keras.backend.backend(), function, *map(keras.ops.convert_to_tensor, (x, g)))
    p = reference.sparsemax(x)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(both["forward"]()), p, atol=1e-6)
    inside = p > 0
    mean = (g * inside).sum(1, keepdims=True) / inside.sum(1, keepdims=True)
    for _ in range(2):
        slope = keras.ops.convert_to_numpy(both["both"]())
        np.testing.assert_allclose(slope, (g - mean) * inside, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the processes run torch")
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("sparsemax", ("--classes", "10", "--rows", "4", "--repeats", "5", "--seconds", "1")),
        (
            "pruning",
            ("--kernel", "16", "8", "--repeats", "3", "--samples", "256", "--turns", "1"),
        ),
    ],
)
def test_torch_is_measured_without_tensorflow(script, arguments, tmp_path):
    out = tmp_path / "out.json"
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, f"benchmarks/bench_{script}.py"]
    command += [*arguments, "--backends", "torch", "--rounds", "1", "--output", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert list(result["environments"]) == ["torch"]


@pytest.mark.backend_free
def test_the_tables_of_pruning_without_tfmot():
    epochs = {"dense": [1.0, 1.2], "pruned": [1.1, 1.2]}
    measured = {
        name: {"refresh": {"seconds": [seconds]}, "mlp": epochs, "cnn": epochs}
        for name, seconds in (("tensorflow", 0.02), ("torch", 0.03))
    }
    refresh, training = tables(measured)
    assert refresh["met"].tolist() == [None, True]
    assert refresh["of tfmot"].isna().all()
    assert training["slower by"].tolist() == pytest.approx([0.1] * 4)
