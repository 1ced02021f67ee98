"""What `import keras_sac` costs and needs."""

import os
import subprocess
import sys

import keras
import pytest


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_heavy_libraries_and_other_backends_stay_out():
    others = {"tensorflow", "torch", "jax"} - {keras.backend.backend()}
    heavy = {"sklearn", "pandas", "matplotlib", "dask", "tyro", *others}
    code = f"""
import sys
import keras
before = set(sys.modules)
import keras_sac
print(sorted({heavy!r} & (set(sys.modules) - before)))
"""
    child = run(code)
    assert child.stdout.strip().endswith("[]"), child.stdout + child.stderr


@pytest.mark.backend_free
@pytest.mark.parametrize("backend", ["tensorflow", "torch", "jax"])
def test_without_the_backend_keras_says_so_itself(backend):
    code = f"""
import sys
class NotInstalled:
    def find_spec(self, name, *_):
        if name.split(".")[0] == {backend!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")
sys.meta_path.insert(0, NotInstalled())
import keras_sac
"""
    child = run(code, KERAS_BACKEND=backend)
    assert child.returncode != 0
    assert "ModuleNotFoundError" in child.stderr or "ImportError" in child.stderr
    # Raised by Keras while it is imported, before this package does anything.
    assert f"No module named '{backend}'" in child.stderr
    assert "/keras/" in child.stderr.replace("keras_sac", "")
