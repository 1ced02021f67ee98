"""Load damaged sparse files and bases: only `InvalidFileError` or the same content, little memory.

A file is damaged by flipped bits, cuts, exchanged pieces, edits of its JSON, and claims of huge
arrays. Forged files end with a new digest, so that their content is read. Some of them say
something else in a valid way, such as two weights of one shape under each other's names; they load
so. Each child process loads 500 files.
"""

import dataclasses
import pathlib
from typing import Any

import pandas as pd
import tyro

from keras_sac.analysis import environment
from timing import run_child, write_result

HERE = pathlib.Path(__file__).parent
_IN_ONE_PROCESS = 500
# Targets: largest growth of memory in MiB (the arrays of the files take less than 0.01), and time.
MEMORY = 50.0
SECONDS = 5.0


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    files: int = 10_000
    """Number of damaged files of each format."""
    seed: int = 0
    """Seed of the first file; each file has the next one."""
    output: pathlib.Path = HERE / "results" / "bench_damaged_files.json"
    """File for the result."""


def measure(options: Options) -> pd.DataFrame:
    """Return one row for each file."""
    rows: list[dict[str, Any]] = []
    for form in ("sparse", "basis"):
        for first in range(0, options.files, _IN_ONE_PROCESS):
            chunk = {
                "format": form,
                "first": options.seed + first,
                "count": min(_IN_ONE_PROCESS, options.files - first),
            }
            found = run_child(HERE / "damaged_files.py", chunk)
            rows += [{"format": form, **row} for row in found]
            print(f"{form}: {first + len(found)} files", flush=True)
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each format and kind of damage."""
    table = []
    for (form, damage), group in rows.groupby(["format", "damage"], sort=False):
        counts = group["result"].value_counts()
        known = {name: int(counts.pop(name)) if name in counts else 0 for name in _RESULTS}
        other = {str(name): int(count) for name, count in counts.items()}
        # A forged file may say something else, and then loads as it says.
        wrong = bool(other) or (known["other"] > 0 and not str(damage).startswith("forged"))
        table.append(
            {
                "format": form,
                "damage": damage,
                "files": len(group),
                **known,
                "other errors": other,
                "largest MiB": float(group["MiB"].max()),
                "slowest s": float(group["seconds"].max()),
                "met": bool(
                    not wrong and group["MiB"].max() <= MEMORY and group["seconds"].max() <= SECONDS
                ),
            }
        )
    return pd.DataFrame(table).sort_values(["format", "damage"], ignore_index=True)


_RESULTS = ("refused", "same", "other")


def main() -> None:
    """Load the files, print the table, write the result."""
    options = tyro.cli(Options, description=__doc__)
    rows = measure(options)
    table = summary(rows)
    print(table.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    wrong = rows[~rows["result"].isin(_RESULTS)]
    print(wrong.to_string(index=False) if len(wrong) else "No other error.")
    write_result(
        options.output,
        {
            "options": {**dataclasses.asdict(options), "output": None},
            "environment": environment(),
            "table": table.to_dict("records"),
            "other errors": wrong.head(50).to_dict("records"),
        },
    )


if __name__ == "__main__":
    main()
