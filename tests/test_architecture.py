"""The rules of docs/design.md that a test can hold: imports, names and sizes of files, doors."""

import ast
import pathlib
import statistics
from collections import Counter, defaultdict

import pytest

import keras_sac
import keras_sac.tfmot.sparsity.keras

pytestmark = pytest.mark.backend_free

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_sac"

# Part of the ground floor -> the other parts that it may import.
GROUND = {
    "_version": set(),
    "_wide_table": set(),
    "_table": {"_wide_table"},
    "_arguments": set(),
    "_backend": set(),
    "_sparse_array": {"_arguments"},
    "_optimizer": {"_arguments", "_backend"},
    "_io": {"_arguments"},
    "_run": {"_arguments", "_backend"},
    "_model": {"_arguments", "_backend", "_run", "_table"},
    "_allocation": set(),
}
# Package -> the other packages that it may import. All may import the ground floor.
ARROWS = {
    "bases": set(),
    "heads": set(),
    "pruning": {"calibration"},
    "regularization": set(),
    "analysis": set(),
    "sparse_file": set(),
    "sparse_runtime": set(),
    "layers": {"bases"},
    "calibration": {"analysis", "bases"},
    "conversion": {"calibration", "layers"},
    "removal": {"calibration"},
    "deployment": {"conversion", "layers"},
    "tfmot": {"pruning"},
    "__main__": {"analysis", "deployment", "sparse_file"},
}
# The files that may name a backend's own package.
BACKENDS = {
    "_backend.py",
    "_run/_engines.py",
    "_run/_environment.py",
    "_run/_full_precision.py",
    "_run/_layer_timing.py",
    "deployment/_torch_writers.py",
    "sparse_runtime/_csr_product.py",
    "sparse_runtime/_semi_structured.py",
}


def files(folder=PACKAGE):
    return sorted(path for path in folder.rglob("*.py") if "results" not in path.parts)


def imports(path):
    """The names that a file imports, wherever in it, `TYPE_CHECKING` included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path):
    parts = ["keras_sac", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in files()}


def imported_modules(path):
    """The modules of the package that a file imports, the package itself as `keras_sac`."""
    for name in imports(path):
        if name.split(".")[0] == "keras_sac":
            parts = name.split(".")
            while ".".join(parts) not in MODULES:
                parts.pop()
            yield ".".join(parts)


def part_of(module):
    return module.split(".")[1] if "." in module else "__init__"


def test_imports_go_one_way():
    wrong = []
    for module, path in MODULES.items():
        part = part_of(module)
        if part == "__init__":
            continue
        allowed = {part, *(GROUND.get(part, set()) if part in GROUND else {*GROUND, *ARROWS[part]})}
        used = {part_of(each) for each in imported_modules(path)} - {"__init__"}
        wrong += [f"{module} imports {each}" for each in sorted(used - allowed)]
    assert wrong == []


def test_nothing_imports_a_private_module_of_another_package():
    wrong = [
        f"{module} imports {each}"
        for module, path in MODULES.items()
        for each in imported_modules(path)
        if each.count(".") > 1
        and each.split(".")[2].startswith("_")
        and part_of(each) != part_of(module)
    ]
    assert wrong == []


def test_nothing_inside_imports_the_whole_package():
    wrong = [
        module
        for module, path in MODULES.items()
        if module != "keras_sac" and "keras_sac" in imported_modules(path)
    ]
    assert wrong == []


def test_imports_have_no_circle():
    edges = {
        module: {each for each in imported_modules(path) if each != module}
        for module, path in MODULES.items()
    }
    # A module in a circle imports a module that is left, and is imported by one.
    while True:
        imported = set().union(*edges.values())
        left = {
            module: targets & edges.keys()
            for module, targets in edges.items()
            if targets & edges.keys() and module in imported
        }
        if left == edges:
            break
        edges = left
    assert edges == {}


def test_no_file_name_stands_twice():
    names = Counter(path.name for path in files() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_the_backends_are_named_in_the_listed_files_only():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in files()
        if {"tensorflow", "torch", "jax"} & {name.split(".")[0] for name in imports(path)}
    }
    assert users == BACKENDS


def test_imports_are_absolute_and_of_public_modules():
    wrong = defaultdict(list)
    for path in files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                wrong["relative"].append(module_of(path))
        for name in imports(path):
            if name.startswith("keras.src"):
                wrong["keras.src"].append(module_of(path))
            if name.split(".")[0] in {"experiments", "harness", "benchmarks", "tests"}:
                wrong[name].append(module_of(path))
    assert wrong == {}


def test_files_have_one_thought():
    sizes = {
        path: len(path.read_text().splitlines()) for path in files() if path.name != "__init__.py"
    }
    short = [path.name for path, size in sizes.items() if size < 40]
    assert [path.name for path, size in sizes.items() if size > 400] == []
    assert len(short) <= 0.1 * len(sizes), short
    assert 90 <= statistics.median(sizes.values()) <= 200
    others = [p for name in ("experiments", "benchmarks", "tests") for p in files(ROOT / name)]
    assert [path.name for path in others if len(path.read_text().splitlines()) > 400] == []


DOORS = [
    keras_sac,
    keras_sac.bases,
    keras_sac.heads,
    keras_sac.layers,
    keras_sac.analysis,
    keras_sac.conversion,
    keras_sac.deployment,
    keras_sac.pruning,
    keras_sac.regularization,
    keras_sac.sparse_file,
    keras_sac.sparse_runtime,
    keras_sac.tfmot.sparsity.keras,
]


def public_objects():
    for door in DOORS:
        for name in door.__all__:
            if callable(getattr(door, name)):
                yield f"{door.__name__}.{name}", getattr(door, name)


def test_each_door_is_explicit():
    for door in DOORS:
        assert len(set(door.__all__)) == len(door.__all__)
        assert [name for name in door.__all__ if not hasattr(door, name)] == []


def test_every_public_object_has_a_docstring_with_an_example():
    without = [name for name, value in public_objects() if ">>>" not in (value.__doc__ or "")]
    assert without == []


def test_the_api_page_names_every_public_object():
    page = (ROOT / "docs" / "api.md").read_text()
    documented = {line.split(".")[-1] for line in page.splitlines() if line.startswith("::: ")}
    assert [n for n, _ in public_objects() if n.split(".")[-1] not in documented] == []
