"""Runs a task in a process of its own. Started by path, so that it imports nothing by itself.

The task, a JSON file, names the Python file (`file`) or module (`module`) whose `main(task)` does
it, and where to put the answer: its result, or the error.
"""

import importlib
import json
import pathlib
import sys
from types import ModuleType
from typing import Any


def module_of(task: dict[str, Any]) -> ModuleType:
    """Return the module that does a task."""
    for name in task.get("blocked", ()):
        # What Python finds here it does not look for: importing it fails.
        sys.modules[name] = None  # type: ignore[assignment]
    if "module" in task:
        return importlib.import_module(task["module"])
    sys.path.insert(0, str(pathlib.Path(task["file"]).parent))
    try:
        return importlib.import_module(pathlib.Path(task["file"]).stem)
    finally:
        # Nothing else of that folder is to be found.
        del sys.path[0]


def main() -> None:
    """Do the task whose path is the argument."""
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    try:
        answer = module_of(task).main(task)
    except Exception as error:
        answer = {"kind": type(error).__name__, "error": str(error)}
    pathlib.Path(task["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
