"""Result files of an experiment: one JSON file per run, never of different settings in a folder."""

import hashlib
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

from harness import ExperimentError
from harness.atomic_files import write_text

FORMAT = "keras_sac experiment run 1"
REQUIRED = ("row", "seed", "fingerprint", "settings", "row_settings")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


def fingerprint(settings: dict[str, Any], row_settings: dict[str, Any]) -> str:
    """Return a hash that is equal for equal settings."""
    text = json.dumps([settings, row_settings], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunFiles:
    """The runs of one experiment, in `<folder>/runs/<row>-seed<seed>.json`.

    Args:
        folder: output folder of the experiment. It is made when the first run is saved.
        settings: JSON values that all runs of the folder share (data, epochs, backend, ...).

    Raises:
        ExperimentError: the folder holds a file that is not a run, or runs of other settings.

    Examples:
        >>> import tempfile
        >>> files = RunFiles(Path(tempfile.mkdtemp()), {"epochs": 2})
        >>> _ = files.save("dense", 42, {"units": 8}, {"result": {"test_accuracy": 0.5}})
        >>> files.find("dense", 42, {"units": 8})["result"]
        {'test_accuracy': 0.5}
    """

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        if self.folder.exists() and not self.folder.is_dir():
            raise ExperimentError(
                f"--output-dir must be a folder. Received: {self.folder}, which is a file. Pass "
                "another --output-dir."
            )
        self.load_all()

    def prepare(self) -> None:
        """Make the folder, and write and remove a file in it.

        Raises:
            OSError: the folder cannot be made or written.
        """
        runs = self.folder / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs) as file:
            file.write(b"a run")

    def load_all(self) -> list[dict[str, Any]]:
        """Read and check all runs of the folder."""
        runs = [_read(path) for path in sorted((self.folder / "runs").glob("*.json"))]
        for run in runs:
            self._compare(run, run["settings"], self.settings)
        return runs

    def path(self, row: str, seed: int) -> Path:
        """Return the path of a run."""
        if not _NAME.fullmatch(row):
            raise ValueError(
                "The name of a row must consist of lower-case letters, digits, '.' and '-', "
                f"because files are named after it. Received: {row!r}."
            )
        return self.folder / "runs" / f"{row}-seed{seed}.json"

    def find(self, row: str, seed: int, row_settings: dict[str, Any]) -> dict[str, Any] | None:
        """Read a run; `None` if there is none.

        Raises:
            ExperimentError: the file has other settings, or is not a run.
        """
        path = self.path(row, seed)
        if not path.exists():
            return None
        run = _read(path)
        self._compare(run, run["settings"], self.settings)
        self._compare(run, run["row_settings"], json.loads(json.dumps(row_settings)))
        if run["fingerprint"] != fingerprint(self.settings, row_settings):
            raise ExperimentError(
                f"The fingerprint in {path} does not match its settings: the file was edited. "
                "Delete it, or pass another --output-dir."
            )
        return run

    def save(
        self, row: str, seed: int, row_settings: dict[str, Any], outcome: dict[str, Any]
    ) -> Path:
        """Write a finished run. Numbers that are not finite become null."""
        path = self.path(row, seed)
        identity = {
            "format": FORMAT,
            "row": row,
            "seed": seed,
            "fingerprint": fingerprint(self.settings, row_settings),
            "settings": self.settings,
            "row_settings": row_settings,
        }
        # Twice: these keys come first in the file, and the outcome cannot replace them.
        run = {**identity, **outcome, **identity}
        write_text(path, json.dumps(_finite(run), indent=1, allow_nan=False) + "\n")
        return path

    def _compare(self, run, stored, wanted):
        different = [
            f"{key} is {stored.get(key)!r} in the file and {wanted.get(key)!r} now"
            for key in sorted(stored.keys() | wanted.keys())
            if stored.get(key) != wanted.get(key)
        ]
        if different:
            raise ExperimentError(
                f"{self.path(run['row'], run['seed'])} has other settings: {'; '.join(different)}. "
                "A folder holds runs of the same settings only: pass another --output-dir, or "
                "delete the old results."
            )


def _read(path):
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ExperimentError(
            f"{path} is truncated or not JSON ({error}). Delete it to repeat that run, or pass "
            "another --output-dir."
        ) from error
    keys = run.keys() if isinstance(run, dict) else ()
    if not isinstance(run, dict) or run.get("format") != FORMAT or not set(REQUIRED) <= set(keys):
        raise ExperimentError(
            f"{path} is not a run of this program, which has the format {FORMAT!r} and the keys "
            f"{', '.join(REQUIRED)}. Move it away, or pass another --output-dir."
        )
    return run


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
