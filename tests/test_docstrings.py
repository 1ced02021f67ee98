"""The examples in the docstrings run."""

import doctest
import importlib
import pathlib

import pytest

import keras_sac

# On one backend: what they call is tested on all of them.
pytestmark = pytest.mark.backend_free

FOLDER = pathlib.Path(keras_sac.__file__).parent
MODULES = [
    ".".join(["keras_sac", *path.relative_to(FOLDER).with_suffix("").parts])
    for path in sorted(FOLDER.rglob("_*.py"))
    if path.name != "__init__.py" and ">>>" in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
