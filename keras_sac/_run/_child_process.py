"""Another process: a task as JSON on its way in, a result or an error as JSON on its way out."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any


class ChildError(RuntimeError):
    """What went wrong in another process.

    Args:
        kind: name of the class of the exception.
        message: its text.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind = kind


_CHILD = pathlib.Path(__file__).with_name("_child_main.py")


def run(task: dict[str, Any], **variables: str) -> dict[str, Any]:
    """Do a task in another process and return its result.

    Args:
        task: JSON values: `module` or `file` with the function `main(task)`, which returns JSON
            values; `blocked`, the packages that it must not import; and what it needs to know.
        variables: of its environment, besides those here.

    Returns:
        The result, JSON values.

    Raises:
        ChildError: if it answers with an error, or ends without an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "task.json")
        answer = pathlib.Path(folder, "answer.json")
        path.write_text(json.dumps({**task, "answer": str(answer)}))
        # What the program imports is what this one imports, wherever it was started.
        paths = os.pathsep.join(each or os.getcwd() for each in sys.path)
        child = subprocess.run(
            # Without the folder of the program among those that it imports from.
            [sys.executable, "-P", str(_CHILD), str(path)],
            env={**os.environ, "PYTHONPATH": paths, **variables},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if not answer.is_file():
            last = "\n".join(child.stderr.strip().splitlines()[-15:])
            raise ChildError(f"The process ended with status {child.returncode}", last)
        found = json.loads(answer.read_text())
    if "error" in found:
        raise ChildError(found["kind"], found["error"])
    return found
