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
def test_without_the_backend_the_error_names_all_of_them(backend):
    # An entry `None` is how Python is told that there is no such package.
    code = f"import sys; sys.modules[{backend!r}] = None; import keras_sac"
    child = run(code, KERAS_BACKEND=backend)
    assert child.returncode != 0
    # Raised by Keras while it is imported, and explained by this package.
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Keras could not be imported (")
    assert f"KERAS_BACKEND={backend}" in last
    others = [each for each in ("tensorflow", "torch", "jax") if each != backend]
    assert all(each in last.partition("Installed here: ")[2] for each in others)
