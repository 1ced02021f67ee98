"""Start the child processes of benchmarks, and write their results."""

import importlib.util
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# Before Keras is imported, whose default is TensorFlow. A parent process only needs any backend.
if importlib.util.find_spec("tensorflow") is None:
    installed = [name for name in ("torch", "jax") if importlib.util.find_spec(name)]
    os.environ.setdefault("KERAS_BACKEND", (installed or ["tensorflow"])[0])

from keras_sac._io import written
from keras_sac._run import run


def run_child(script: pathlib.Path, options: dict[str, Any], **variables: str | None) -> Any:
    """Run `main(options)` of a script in another process and return its result.

    Args:
        script: Python file whose `main` takes and returns a dict of JSON values.
        options: JSON values.
        variables: environment variables to set there; `None` removes one.

    Raises:
        ChildError: if `main` raises, or the process ends without a result.
    """
    return run({**options, "file": str(script)}, **{"TF_CPP_MIN_LOG_LEVEL": "3", **variables})


def each_available(
    names: Iterable[str], measure: Callable[[str], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure models by name, and print and yield each; Keras does not have all on each backend."""
    for name in names:
        try:
            found = measure(name)
        except ValueError as error:
            # Keras 3.15 has no NASNet on torch.
            if "is not available with the" not in str(error):
                raise
            print(f"{name}: {error}", flush=True)
            continue
        print(f"{name}: {found}", flush=True)
        yield name, found


def earlier_results(path: pathlib.Path, facts: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the results in a file that were measured under the same facts, else none.

    Args:
        path: of the file.
        facts: JSON values: options and environment of this run.
        key: name of the results in the file.
    """
    before = json.loads(path.read_text()) if path.exists() else {}
    same = {name: before.get(name) for name in facts} == facts
    return before.get(key, {}) if same else {}


def write_result(path: pathlib.Path, result: dict[str, Any]) -> None:
    """Write a result as JSON with seven significant digits, whole or not at all.

    Lists of numbers take one line.
    """
    text = json.dumps(_rounded(result), indent=1)
    text = re.sub(r"\[[\s\d.,eE+-]+\]", lambda found: " ".join(found[0].split()), text)
    write_text(path, text + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path, overwrite=True) as new:
        new.write_text(text)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    # Significant digits rather than decimals: an error of 3e-8 is not zero.
    return float(f"{value:.7g}") if isinstance(value, float) else value
