"""Result files: one JSON a run, written whole or not at all, never mixed between configurations."""

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from harness.errors import ExperimentError

FORMAT = "keras_sac experiment run 1"
REQUIRED = ("row", "seed", "fingerprint", "settings", "row_settings")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def fingerprint(settings: dict[str, Any], row_settings: dict[str, Any]) -> str:
    """Hash of what a run depends on; equal configurations have equal fingerprints."""
    text = json.dumps([settings, row_settings], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunStore:
    """The runs of one experiment in `<folder>/runs/<row>-seed<seed>.json`.

    Args:
        folder: Output folder of the experiment; made when the first run is saved.
        settings: What all runs of the folder have in common (data, epochs, backend, ...), as JSON
            values.

    Raises:
        ExperimentError: The folder holds a file that is no run, or runs of other settings.

    Examples:
        >>> import tempfile
        >>> store = RunStore(Path(tempfile.mkdtemp()), {"epochs": 2})
        >>> _ = store.save("dense", 42, {"units": 8}, {"result": {"test_accuracy": 0.5}})
        >>> store.find("dense", 42, {"units": 8})["result"]
        {'test_accuracy': 0.5}
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        if self.folder.exists() and not self.folder.is_dir():
            raise ExperimentError(
                f"{self.folder} is a file: expected a folder for the results. Pass another "
                "--output-dir."
            )
        self.load_all()

    def load_all(self) -> list[dict[str, Any]]:
        """Return all runs of the folder, checked."""
        runs = [_read(path) for path in sorted((self.folder / "runs").glob("*.json"))]
        for run in runs:
            self._compare(run, run["settings"], self.settings)
        return runs

    def path(self, row: str, seed: int) -> Path:
        """Where the run of this row and seed is kept."""
        if not _NAME.fullmatch(row):
            raise ValueError(
                f"a row's name is {row!r}: expected lower-case letters, digits, '.' and '-', "
                "because it names a file."
            )
        return self.folder / "runs" / f"{row}-seed{seed}.json"

    def find(self, row: str, seed: int, row_settings: dict[str, Any]) -> dict[str, Any] | None:
        """Return the stored run, `None` if there is none.

        Raises:
            ExperimentError: It was made with other settings, or is no run.
        """
        path = self.path(row, seed)
        if not path.exists():
            return None
        run = _read(path)
        self._compare(run, run["settings"], self.settings)
        self._compare(run, run["row_settings"], json.loads(json.dumps(row_settings)))
        if run["fingerprint"] != fingerprint(self.settings, row_settings):
            raise ExperimentError(
                f"{path} does not belong to its own settings: it was edited by hand. Delete it, or "
                "pass another --output-dir."
            )
        return run

    def save(
        self, row: str, seed: int, row_settings: dict[str, Any], outcome: dict[str, Any]
    ) -> Path:
        """Write one finished run; numbers that are not finite become null."""
        path = self.path(row, seed)
        identity = {
            "format": FORMAT,
            "row": row,
            "seed": seed,
            "fingerprint": fingerprint(self.settings, row_settings),
            "settings": self.settings,
            "row_settings": row_settings,
        }
        # Twice: first in the file, and never overwritten by what a run reports.
        run = {**identity, **outcome, **identity}
        write_text(path, json.dumps(_finite(run), indent=1, allow_nan=False) + "\n")
        return path

    def _compare(self, run, stored, wanted):
        different = [
            f"{key} is {stored.get(key)!r} there and {wanted.get(key)!r} here"
            for key in sorted(stored.keys() | wanted.keys())
            if stored.get(key) != wanted.get(key)
        ]
        if different:
            raise ExperimentError(
                f"{self.path(run['row'], run['seed'])} was made with other settings: "
                f"{'; '.join(different)}. Runs of different settings are never mixed: pass another "
                "--output-dir, or delete the old results."
            )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _read(path):
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ExperimentError(
            f"{path} is truncated or no JSON ({error}). Delete it to repeat that run, or pass "
            "another --output-dir."
        ) from error
    keys = run.keys() if isinstance(run, dict) else ()
    if not isinstance(run, dict) or run.get("format") != FORMAT or not set(REQUIRED) <= set(keys):
        raise ExperimentError(
            f"{path} is no run of this program: expected format {FORMAT!r} with "
            f"{', '.join(REQUIRED)}. Move it away, or pass another --output-dir."
        )
    return run


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
