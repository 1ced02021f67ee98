"""Declare an experiment, resolve its options, and train the runs that are missing."""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras

from harness import CannotRun, ExperimentError, datasets, splits, tables
from harness.atomic_files import write_text
from harness.options import Options, Setup
from harness.rows import Row, Trial
from harness.run_files import RunFiles
from harness.training import train_row
from keras_sac.analysis import environment

# What Keras can be configured to by `keras.json` and the environment, and is by default.
_KERAS_DEFAULTS: dict[str, Any] = {
    "floatx": "float32",
    "dtype_policy": "float32",
    "epsilon": 1e-7,
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment: options, rows, table and plots.

    Args:
        name: of the script, without `.py`.
        description: for `--help`.
        rows: makes all rows of the table from the settings, which are the attributes of its
            argument: the options, the values of the `Setup`, and the `recipe`.
        setups: name of a data set -> defaults.
        options: class of the options.
        plots: file name -> function that draws it from `Results` and the path.
        view: columns of the table.
        baseline: method of the row that the others are compared with.
        flat: whether models receive vectors instead of images.
        split_seed: seed of the split of all seeds. None: each seed has its own split.
    """

    name: str
    description: str | None
    rows: Callable[[SimpleNamespace], list[Row]]
    setups: Mapping[str, Setup]
    options: type[Options] = Options
    plots: Mapping[str, Callable[[tables.Results, Path], None]] = dataclasses.field(
        default_factory=dict
    )
    view: tables.View = tables.PLAIN
    baseline: str = "dense"
    flat: bool = False
    split_seed: int | None = None


class Session:
    """An experiment with its options, settings, rows and data.

    Args:
        experiment: the experiment.
        options: from the command line.

    Raises:
        ExperimentError: an option is wrong, or the data cannot be loaded.
    """

    def __init__(self, experiment: Experiment, options: Options):
        options.check()
        self.experiment, self.options = experiment, options
        if options.dataset not in experiment.setups:
            raise ExperimentError(
                f"--dataset must be one of {', '.join(experiment.setups)}. "
                f"Received: {options.dataset}."
            )
        self.settings = experiment.setups[options.dataset].settings(options)
        self.rows = experiment.rows(self.settings)
        self.selected = select_rows(self.rows, options.runs)
        dataset = datasets.load(options.dataset, options.data_dir)
        self.dataset = dataset.limited(options.limit)
        self._check_ranks()
        data_format = keras.config.image_data_format()
        if data_format != "channels_last" and not experiment.flat:
            raise ExperimentError(
                "Keras must be configured to images with their channels last. Received: "
                f"image_data_format={data_format}. Change it in keras.json."
            )

    def _check_ranks(self) -> None:
        samples = len(self.dataset.x_train) * (1 - self.options.validation_fraction)
        rank = max((row.arguments.get("rank", 0) for row in self.rows), default=0)
        if samples <= rank:
            raise ExperimentError(
                f"A basis of rank {rank} needs more than {rank} training samples. Received: "
                f"{samples:.0f} samples without the validation part. Raise --limit."
            )

    @property
    def order(self) -> list[str]:
        """Names of the rows in the order of the table."""
        return [row.name for row in self.rows]

    def trial(self, seed: int, folder: Path | None = None) -> Trial:
        """Split and normalize the data for one seed. Rows may keep files in the folder."""
        fixed = self.experiment.split_seed
        split = splits.split(
            self.dataset, seed if fixed is None else fixed, self.options.validation_fraction
        )
        split = split.flat() if self.experiment.flat else split
        return Trial(seed, split, self.settings.recipe, folder)

    def run_files(self) -> RunFiles:
        """Open the output folder."""
        described = environment()
        folder = self.options.folder(self.experiment.name)
        files = RunFiles(
            folder,
            {
                "experiment": self.experiment.name,
                "dataset": self.dataset.name,
                "dataset_sha256": self.dataset.sha256,
                "training_samples": len(self.dataset.x_train),
                "validation_fraction": self.options.validation_fraction,
                "backend": described["backend"],
                "device": described["device"],
                **self.settings.recipe.settings(),
                **keras_settings(),
            },
        )
        if self.options.output_dir is None:
            # The default folder is below the current one, which may be a repository.
            write_text(folder / ".gitignore", "*\n")
        return files

    def results(self, runs: Sequence[dict[str, Any]]) -> tables.Results:
        """Return runs with all that tables and plots need."""
        return tables.Results(
            runs,
            self.order,
            self.experiment.baseline,
            self.experiment.view,
            f"{self.dataset.label}, {keras.config.backend()}",
            functools.cache(lambda: self.trial(self.options.seeds[0])),
        )


def keras_settings() -> dict[str, Any]:
    """Return what Keras is configured to, where that is not its default.

    Without the defaults, so that older result files keep their fingerprints.
    """
    configured = {name: getattr(keras.config, name)() for name in _KERAS_DEFAULTS}
    configured["dtype_policy"] = configured["dtype_policy"].name
    return {name: each for name, each in configured.items() if each != _KERAS_DEFAULTS[name]}


def select_rows(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows with these names in the order of the table, all rows if there are no names.

    A name may be a pattern with `*`, such as `"lenet-5.*"`.

    Raises:
        ExperimentError: no row has such a name.
    """
    known = [row.name for row in rows]
    unknown = [name for name in names if not fnmatch.filter(known, name)]
    if unknown:
        # The names end the message, so that other programs can read them.
        raise ExperimentError(
            f"--runs has unknown rows. Received: {', '.join(unknown)}; expected names among "
            f"{', '.join(known)}."
        )
    return [
        row
        for row in rows
        if not names or any(fnmatch.fnmatchcase(row.name, name) for name in names)
    ]


def run_missing(session: Session, files: RunFiles) -> int:
    """Train every selected row and seed without a result file.

    Args:
        session: the experiment with its options.
        files: finished runs. Each new run is saved as soon as it is finished.

    Returns:
        The number of new runs.

    Raises:
        ExperimentError: a row cannot be trained with its settings. Nothing has been trained then.
            A row that finds out later raises `CannotRun`, and is skipped with the reason.
        OSError: the folder cannot be written. Nothing has been trained then.
    """
    pairs = [(seed, row) for seed in session.options.seeds for row in session.selected]
    # All files are read before the first training, so that a mismatch of settings shows first.
    done = {
        (seed, row.name)
        for seed, row in pairs
        if files.find(row.name, seed, row.settings) is not None
    }
    # Only the data of the current seed are kept.
    trial_of = functools.lru_cache(maxsize=1)(lambda seed: session.trial(seed, files.folder))
    missing = [
        (seed, row) for seed, row in pairs if not row.skip_reason and (seed, row.name) not in done
    ]
    for row in dict.fromkeys(row for _, row in missing):
        row.check(trial_of(missing[0][0]))
    if missing:
        files.prepare()
    trained = 0
    for number, (seed, row) in enumerate(pairs, start=1):
        line = f"[{number}/{len(pairs)}] {row.name}, seed {seed}"
        if (seed, row.name) in done:
            print(f"{line}: already done")
        elif row.skip_reason:
            print(f"{line}: skipped, {row.skip_reason}")
        else:
            trial = trial_of(seed)
            print(line, flush=True)
            try:
                outcome = train_row(row, trial, verbose=session.settings.verbose)
            except CannotRun as error:
                row.skip_reason = str(error).rstrip(".")
                print(f"    skipped, {row.skip_reason}", flush=True)
                continue
            parts = ("x_train", "x_val", "x_test")
            sizes = {part: len(getattr(trial.split, part)) for part in parts}
            outcome["data"] = {"label": session.dataset.label, **sizes}
            files.save(row.name, seed, row.settings, outcome)
            trained += 1
            print(f"    {_one_line(outcome)}", flush=True)
    return trained


def _one_line(outcome):
    result, seconds = outcome["result"], outcome["seconds"]
    if "loss" not in outcome["history"]:
        return f"test {100 * result['test_accuracy']:.2f} % without training"
    return (
        f"test {100 * result['test_accuracy']:.2f} % at epoch {result['chosen_epoch']} (chosen on "
        f"validation), best test epoch {100 * result['best_test_accuracy']:.2f} %, "
        f"{seconds['epoch']:.3g} s per epoch"
    )
