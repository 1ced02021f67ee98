"""The Python blocks of the README and of the guides run as they stand."""

import pathlib
import re

import pytest

# The blocks run on one backend: what they call is tested on all of them.
pytestmark = pytest.mark.backend_free

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "documentation", "exec"), {"__name__": "__main__"})


def test_links_of_the_readme_work_outside_the_repository():
    """PyPI shows the README without the files beside it."""
    targets = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    main = re.compile(r"https://(github\.com|raw\.githubusercontent\.com)/keras-sac/keras-sac/")
    for target in targets:
        assert main.match(target), target
        path = main.sub("", target).removeprefix("blob/").removeprefix("main/")
        assert (ROOT / path).exists(), target
