"""Run a function in another Python process; task and result travel as JSON."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any


class ChildError(RuntimeError):
    """Raised when a task fails in another process.

    Args:
        kind: class name of the exception there.
        message: its text.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind = kind


_CHILD = pathlib.Path(__file__).with_name("_child_main.py")


def run(task: dict[str, Any], **variables: str | None) -> dict[str, Any]:
    """Run a task in another process and return its result.

    Args:
        task: JSON values. `module` or `file` names the code, whose `main(task)` returns a dict of
            JSON values; `blocked` lists packages that it must not import; the rest is for `main`.
        variables: environment variables to set there; `None` removes one.

    Returns:
        The dict that `main` returned.

    Raises:
        ChildError: if `main` raises, or the process ends without a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "task.json")
        answer = pathlib.Path(folder, "answer.json")
        path.write_text(json.dumps({**task, "answer": str(answer)}))
        # The child finds the packages that this process finds, wherever it was started.
        paths = os.pathsep.join(each or os.getcwd() for each in sys.path)
        changed = {**os.environ, "PYTHONPATH": paths, **variables}
        child = subprocess.run(
            # -P: the folder of `_child_main.py` is not on the path.
            [sys.executable, "-P", str(_CHILD), str(path)],
            env={name: value for name, value in changed.items() if value is not None},
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
