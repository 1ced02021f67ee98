"""The Python blocks of the README and of the guides, and the notebooks, run as they stand."""

import json
import pathlib
import re

import pytest

# The blocks run on one backend: what they call is tested on all of them.
pytestmark = pytest.mark.backend_free

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
ONE_PROGRAM = "<!-- The blocks of this page are one program. -->"


def programs(page):
    text = page.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return ["\n".join(blocks)] if ONE_PROGRAM in text else blocks


def code_cells(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(programs(page))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "documentation", "exec"), {"__name__": "__main__"})


# Cells without magics are Python: a Jupyter kernel would add twenty packages to the tests.
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook)):
        exec(compile(cell, f"{notebook.name}, cell {number}", "exec"), namespace)


def test_links_of_the_readme_work_outside_the_repository():
    """PyPI shows the README without the files beside it."""
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    main = re.compile(r"https://(github\.com|raw\.githubusercontent\.com)/keras-sac/keras-sac/")
    for target in targets:
        assert main.match(target), target
        path = main.sub("", target).removeprefix("blob/").removeprefix("main/")
        assert (ROOT / path).exists(), target
