"""Rules for the code of the experiments: imports without cycles, and tasks that have one place."""

import ast
import graphlib
import pathlib

import pytest

pytestmark = pytest.mark.backend_free

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"
FILES = [*sorted(EXPERIMENTS.glob("*.py")), *sorted((EXPERIMENTS / "harness").glob("*.py"))]


def imported(path):
    """Names of the imported modules of the harness, including those for type checks only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("harness."))


def test_modules_of_the_harness_do_not_import_each_other_in_a_circle():
    modules = {path.stem: set(imported(path)) for path in FILES if path.parent.name == "harness"}
    graph = {name: names & modules.keys() for name, names in modules.items()}
    assert set(graphlib.TopologicalSorter(graph).static_order()) == modules.keys()


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("os.replace(", "atomic_files.py"),
        ("subprocess", "tfmot_row.py"),
        ("tyro.", "command_line.py"),
    ],
)
def test_a_task_has_one_place(text, home):
    assert [path.name for path in FILES if text in path.read_text()] == [home]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_assert_is_not_validation(path):
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text())))
