"""Run one task in a child process. Started by its path, so that it imports no package by itself.

The task is a JSON file. It names the Python file (`file`) or module (`module`) whose `main(task)`
is called, and the file for the answer (`answer`): the result, or the error.
"""

import importlib
import json
import pathlib
import sys
from types import ModuleType
from typing import Any


def module_of(task: dict[str, Any]) -> ModuleType:
    """Import the module whose `main` runs the task."""
    for name in task.get("blocked", ()):
        # Importing a name whose entry is `None` raises ImportError.
        sys.modules[name] = None  # type: ignore[assignment]
    if "module" in task:
        return importlib.import_module(task["module"])
    sys.path.insert(0, str(pathlib.Path(task["file"]).parent))
    try:
        return importlib.import_module(pathlib.Path(task["file"]).stem)
    finally:
        # Later imports must not find other files of that folder.
        del sys.path[0]


def main() -> None:
    """Run the task whose path is the first argument."""
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    try:
        answer = module_of(task).main(task)
    except Exception as error:
        answer = {"kind": type(error).__name__, "error": str(error)}
    pathlib.Path(task["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
