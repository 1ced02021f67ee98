"""Write the table and the plots of all runs in an output folder."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness import ExperimentError, tables
from harness.atomic_files import write_text
from harness.experiment import Session
from harness.run_files import RunFiles


def write_report(session: Session, files: RunFiles) -> None:
    """Write `table.csv`, `table.md` and the plots, and print the table.

    Raises:
        ExperimentError: the folder holds no run.
    """
    runs = files.load_all()
    if not runs:
        raise ExperimentError(
            f"{files.folder} holds no run, and none could be made. Install the packages that the "
            "rows need, or choose other rows with --runs."
        )
    results = session.results(runs)
    readable, notes = _readable(session, results)
    header = _header(session, runs)
    alignment = ("left", *["right"] * (len(readable.columns) - 1))
    markdown = readable.to_markdown(index=False, colalign=alignment)
    text = "\n".join([header, "", markdown, "", *(f"- {note}" for note in notes)])
    csv = results.table.to_csv(index=False, float_format="%.6g")
    write_text(files.folder / "table.csv", csv)
    write_text(files.folder / "table.md", text.rstrip() + "\n")
    for name, draw in session.experiment.plots.items():
        draw(results, files.folder / name)
    print(f"\n{header}\n")
    with pd.option_context("display.width", 250, "display.max_columns", None):
        print(readable.to_string(index=False))
    print("\n".join(["", *notes, "", f"Results: {files.folder}"]))


def _readable(session: Session, results: tables.Results) -> tuple[pd.DataFrame, list[str]]:
    """Return the printed table, with a line for each skipped row, and the notes below it."""
    readable = results.printable()
    present = set(results.table["row"])
    notes = [f"{row.name}: {row.note}" for row in session.rows if row.note and row.name in present]
    for row in session.rows:
        if row.skip_reason and row.name not in present:
            readable.loc[len(readable)] = {"row": row.name, "seeds": "0"}
            notes.append(f"{row.name}: not run, {row.skip_reason}.")
    return readable.fillna("—"), notes


def _header(session: Session, runs: Sequence[dict[str, Any]]) -> str:
    seeds = sorted({run["seed"] for run in runs})
    present = {run["row"] for run in runs}
    rows = tuple(name for name in session.order if name in present)
    # The command that makes the whole table. The last call may have made only a part of it.
    options = dataclasses.replace(
        session.options,
        seeds=tuple(seeds),
        runs=() if len(rows) == len(session.order) else rows,
    )
    environments = [run["environment"] for run in runs]
    versions = sorted({f"{k} {v}" for e in environments for k, v in e["versions"].items()})
    threads = sorted({str(e["threads"]) for e in environments})
    epochs = session.settings.recipe.epochs
    pythons = sorted({e["python"] for e in environments})
    return (
        f"{session.dataset.label} ({len(session.dataset.x_train):,} training samples, of "
        f"which {session.options.validation_fraction:.0%} for validation); "
        f"{runs[0]['settings']['backend']} on {runs[0]['settings']['device']} "
        f"({'/'.join(threads)} CPU threads); {', '.join(versions)}, "
        f"Python {'/'.join(pythons)}; {epochs} epoch{'' if epochs == 1 else 's'}, "
        f"seeds {', '.join(map(str, seeds))}; mean ± standard deviation over the seeds. "
        f"`{options.command(session.experiment.name)}`"
    )
