"""The rules of docs/design.md that a test can hold: imports, file sizes, the doors."""

import ast
import pathlib

import pytest

import keras_sac
import keras_sac.tfmot.sparsity.keras

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_sac"

# part -> the parts of the package that it may import.
ARROWS = {
    "bases": set(),
    "heads": set(),
    "pruning": set(),
    "regularization": set(),
    "analysis": set(),
    "layers": {"bases"},
    "conversion": {"layers", "bases"},
    "deployment": {"conversion", "analysis"},
    "tfmot": {"pruning"},
    "__main__": {"analysis", "deployment"},
}
# Belongs to no part, and knows nobody but itself: the version, the one file that knows the backends
# apart, what optimizers around another have in common, which variables of a model are meant,
# numbers that users give, and tables.
SHARED = {
    *("_version", "_backend", "_last_axis", "_wrapping", "_targets"),
    *("_arguments", "_table", "_iterables", "_copying", "_sparse_array"),
}


def modules(folder):
    return sorted(path for path in folder.rglob("*.py") if "results" not in path.parts)


def imports(path):
    """Names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            base = node.module
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    part = part_of(path)
    names = set(imports(path))
    assert not any(name.split(".")[0] in {"experiments", "harness", "benchmarks"} for name in names)
    assert not any(name.startswith("keras.src") for name in names)
    if part == "__init__":
        return
    used = {name.split(".")[1] for name in names if name.startswith("keras_sac.")}
    if part in SHARED:
        assert used <= {part}
        return
    allowed = ARROWS[part] | SHARED | {part}
    assert used <= allowed, f"{path.name} imports {used - allowed}"


@pytest.mark.parametrize(
    "path",
    [
        p
        for folder in ("keras_sac", "experiments", "benchmarks", "tests")
        for p in modules(ROOT / folder)
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_layers_know_the_backends_apart_in_one_place_only():
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules(PACKAGE)
        if {"tensorflow", "torch", "jax"} & {name.split(".")[0] for name in imports(path)}
    }
    # Besides: engines of files, what torch has to be told to write one, sparse products.
    assert users == {
        *("_backend.py", "analysis/_environment.py", "analysis/_engines.py"),
        *("deployment/_formats.py", "deployment/_csr_product.py", "deployment/_side_by_side.py"),
        "deployment/_semi_structured.py",
    }


def doors():
    return [
        keras_sac,
        keras_sac.bases,
        keras_sac.heads,
        keras_sac.layers,
        keras_sac.analysis,
        keras_sac.conversion,
        keras_sac.deployment,
        keras_sac.pruning,
        keras_sac.regularization,
        keras_sac.tfmot.sparsity.keras,
    ]


@pytest.mark.parametrize("door", doors(), ids=lambda d: d.__name__)
def test_a_door_is_explicit(door):
    assert len(set(door.__all__)) == len(door.__all__)
    for name in door.__all__:
        assert hasattr(door, name)


def public_objects():
    for door in doors():
        for name in door.__all__:
            value = getattr(door, name)
            if callable(value):
                yield f"{door.__name__}.{name}", value


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(name, value, id=name) for name, value in public_objects()]
)
def test_what_is_public_is_documented(name, value):
    text = value.__doc__ or ""
    assert text.strip(), f"{name} has no docstring"
    if name.endswith("SubspaceLayer"):
        # For isinstance; what a user makes are its subclasses.
        return
    assert "Examples:" in text, f"{name} has no example"
    assert ">>>" in text, f"{name} has no example that runs"


def test_the_api_page_names_everything():
    page = (ROOT / "docs" / "api.md").read_text()
    documented = {line.split(".")[-1] for line in page.splitlines() if line.startswith("::: ")}
    missing = [name for name, _ in public_objects() if name.split(".")[-1] not in documented]
    assert not missing
