"""Programs that tests run in a process of their own."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def python(*arguments, **variables):
    """Return what Python prints with these arguments; fail if it fails.

    Args:
        arguments: of the command line.
        variables: of the environment besides those here; `None` takes one away.
    """
    changed = {**os.environ, **variables}
    child = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={name: value for name, value in changed.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    return child.stdout
