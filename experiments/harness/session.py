"""An experiment from its options to its table: runs what is missing, then reports."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from harness import plots, splits, tables
from harness.datasets import Dataset
from harness.errors import ExperimentError
from harness.options import Options
from harness.plans import Recipe, Row, Trial
from harness.store import RunStore, write_text
from harness.training import run
from keras_sac.analysis import environment


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is run on which data, and where its results are.

    Args:
        name: Of the script, without `.py`.
        options: From the command line, checked.
        dataset: Loaded and limited.
        recipe: How to train.
        rows: All rows of the experiment on this data set.
        baseline: Name of the row that others are compared with.
        verbose: As in `fit`.
        flat: Whether models see vectors instead of images.
        view: What the table shows.
        figures: Draws the figures of `report` into a folder; None: accuracy against parameters,
            and learning curves.
    """

    name: str
    options: Options
    dataset: Dataset
    recipe: Recipe
    rows: Sequence[Row]
    baseline: str
    verbose: int = 1
    flat: bool = True
    view: tables.View = tables.PLAIN
    figures: "Callable[[Experiment, list[dict], pd.DataFrame, Path], None] | None" = None

    @property
    def order(self) -> list[str]:
        """Names of the rows in the order of the table."""
        return [row.name for row in self.rows]

    @property
    def title(self) -> str:
        """One line for the figures."""
        return f"{self.dataset.label}, {keras.config.backend()}"

    def settings(self) -> dict[str, Any]:
        """Return what all runs of one output folder have in common."""
        described = environment()
        return {
            "experiment": self.name,
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.sha256,
            "training_samples": len(self.dataset.x_train),
            "validation_fraction": self.options.validation_fraction,
            "backend": described["backend"],
            "device": described["device"],
            **self.recipe.settings(),
        }

    def trial(self, seed: int, folder: Path | None = None) -> Trial:
        """Split and normalise the data for one seed; rows may keep files in the folder."""
        split = splits.split(self.dataset, seed, self.options.validation_fraction)
        return Trial(seed, split.flat() if self.flat else split, self.recipe, folder)

    def store(self) -> RunStore:
        """Open the folder of the results."""
        folder = self.options.folder(self.name)
        store = RunStore(folder, self.settings())
        if self.options.output_dir is None:
            # The default folder lies in the current one, which may be a repository.
            write_text(folder / ".gitignore", "*\n")
        return store


def selected(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows of these names in the table's order (no names: all).

    Raises:
        ExperimentError: No row has such a name.
    """
    known = [row.name for row in rows]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ExperimentError(
            f"--runs has {', '.join(unknown)}: expected names among {', '.join(known)}."
        )
    return [row for row in rows if not names or row.name in names]


def run_missing(experiment: Experiment, store: RunStore) -> int:
    """Train every selected row and seed that has no result file yet.

    Args:
        experiment: What to run.
        store: Where finished runs are; each is saved as soon as it is done.

    Returns:
        How many runs were made.
    """
    rows = selected(experiment.rows, experiment.options.runs)
    seeds = experiment.options.seeds
    # Everything is looked up before anything is trained: a mismatch shows at once.
    missing = {
        (seed, row.name)
        for seed in seeds
        for row in rows
        if store.find(row.name, seed, row.settings) is None
    }
    obstructed = {row.name for row in rows if row.obstacle}
    total, number = len(rows) * len(seeds), 0
    for seed in seeds:
        trial = None
        for row in rows:
            number += 1
            if (seed, row.name) not in missing:
                print(f"[{number}/{total}] {row.name}, seed {seed}: done before")
                continue
            if row.obstacle:
                print(f"[{number}/{total}] {row.name}, seed {seed}: skipped, {row.obstacle}")
                continue
            trial = trial or experiment.trial(seed, store.folder)
            print(f"[{number}/{total}] {row.name}, seed {seed}", flush=True)
            outcome = run(row, trial, verbose=experiment.verbose)
            outcome["data"] = {"label": experiment.dataset.label, **_sizes(trial.split)}
            store.save(row.name, seed, row.settings, outcome)
            print(f"    {_in_short(outcome)}", flush=True)
    return len([name for _, name in missing if name not in obstructed])


def _in_short(outcome):
    result, seconds = outcome["result"], outcome["seconds"]
    return (
        f"test {100 * result['test_accuracy']:.2f} % at epoch {result['chosen_epoch']} (chosen on "
        f"validation), best test epoch {100 * result['best_test_accuracy']:.2f} %, "
        f"{seconds['epoch']:.3g} s an epoch"
    )


def _sizes(split):
    return {name: len(getattr(split, name)) for name in ("x_train", "x_val", "x_test")}


def report(experiment: Experiment, store: RunStore) -> pd.DataFrame:
    """Write `table.csv`, `table.md` and the figures of all runs in the folder.

    Returns:
        The table, a `tables.summary`.
    """
    runs = store.load_all()
    if not runs:
        raise ExperimentError(
            f"no run is in {store.folder} and none could be made. Install what the rows need, or "
            "choose others by --runs."
        )
    table = tables.summary(runs, experiment.order, experiment.baseline, experiment.view)
    readable = tables.printable(table, experiment.view)
    present = set(table["row"])
    notes = [f"{r.name}: {r.note}" for r in experiment.rows if r.note and r.name in present]
    absent = [r for r in experiment.rows if r.obstacle and r.name not in present]
    for row in absent:
        readable.loc[len(readable)] = {"row": row.name, "seeds": "0"}
        notes.append(f"{row.name}: not run, {row.obstacle}.")
    readable = readable.fillna("—")
    header = _header(experiment, runs)
    markdown = readable.to_markdown(
        index=False, colalign=("left", *["right"] * (len(readable.columns) - 1))
    )
    text = "\n".join([header, "", markdown, "", *(f"- {note}" for note in notes)])
    write_text(store.folder / "table.csv", table.to_csv(index=False, float_format="%.6g"))
    write_text(store.folder / "table.md", text.rstrip() + "\n")
    (experiment.figures or _draw_comparison)(experiment, runs, table, store.folder)
    print(f"\n{header}\n")
    with pd.option_context("display.width", 250, "display.max_columns", None):
        print(readable.to_string(index=False))
    print("\n".join(["", *notes, "", f"Results: {store.folder}"]))
    return table


def _draw_comparison(experiment, runs, table, folder):
    plots.accuracy_against_parameters(
        table,
        folder / "accuracy_against_parameters.png",
        baseline=experiment.baseline,
        title=experiment.title,
    )
    plots.learning_curves(
        runs, experiment.order, folder / "learning_curves.png", title=experiment.title
    )


def draw_bases(
    experiment: Experiment,
    folder: Path,
    kinds: dict[str, str],
    make: Callable[[Trial, str], np.ndarray],
) -> None:
    """Draw the leading basis vectors of each kind for the first seed, where not drawn yet.

    Args:
        experiment: What was run.
        folder: Where the figures go, as `basis_<kind>.png`.
        kinds: Kind -> title.
        make: Returns the matrix `(in_dim, rank)` of a kind.
    """
    paths = {kind: folder / f"basis_{kind.replace('-', '_')}.png" for kind in kinds}
    missing = [kind for kind, path in paths.items() if not path.exists()]
    if not missing:
        return
    trial = experiment.trial(experiment.options.seeds[0])
    for kind in missing:
        plots.basis_images(
            make(trial, kind), trial.split.image_shape, paths[kind], title=kinds[kind]
        )


def _header(experiment, runs):
    seeds = sorted({run["seed"] for run in runs})
    present = {run["row"] for run in runs}
    rows = tuple(name for name in experiment.order if name in present)
    # The command that makes this table, which need not be the one that completed it.
    options = dataclasses.replace(
        experiment.options,
        seeds=tuple(seeds),
        runs=() if len(rows) == len(experiment.order) else rows,
    )
    environments = [run["environment"] for run in runs]
    versions = sorted({f"{k} {v}" for e in environments for k, v in e["versions"].items()})
    threads = sorted({str(e["threads"]) for e in environments})
    pythons = sorted({e["python"] for e in environments})
    return (
        f"{experiment.dataset.label} ({len(experiment.dataset.x_train):,} training samples, of "
        f"which {experiment.options.validation_fraction:.0%} for validation); "
        f"{runs[0]['settings']['backend']} on {runs[0]['settings']['device']} "
        f"({'/'.join(threads)} CPU threads); {', '.join(versions)}, "
        f"Python {'/'.join(pythons)}; {experiment.recipe.epochs} epochs, "
        f"seeds {', '.join(map(str, seeds))}; mean ± standard deviation over the seeds. "
        f"`{options.command(experiment.name)}`"
    )
