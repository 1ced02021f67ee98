"""Command line of an experiment: options, their checks, and what a data set leaves open."""

import dataclasses
import re
from pathlib import Path
from typing import Literal

from harness.errors import ExperimentError
from harness.plans import Recipe
from keras_sac.analysis import environment


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What an experiment does on one data set unless it is told otherwise.

    Args:
        recipe: How to train.
        verbose: 1: Keras' progress bars, 0: one line a run.
    """

    recipe: Recipe
    verbose: int = 1


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that all experiments have."""

    dataset: Literal["cifar10", "mnist", "digits"] = "cifar10"
    """Data set; digits needs neither network nor files."""
    data_dir: Path | None = None
    """Folder with cifar-10-batches-py/ or cifar10.npz, or with mnist.npz; default: download."""
    epochs: int | None = None
    """Epochs of a run; default: the data set's own (cifar10: 15)."""
    seeds: tuple[int, ...] = (42, 43, 44)
    """One run of each row for each seed."""
    runs: tuple[str, ...] = ()
    """Names of the rows to run; default: all. A wrong name lists them."""
    output_dir: Path | None = None
    """Where results go; default: results/<experiment>/<dataset>-<backend>-<device>."""
    limit: int | None = None
    """Use only the first samples of the training set."""
    batch_size: int | None = None
    """Samples in a step; default: the data set's own (cifar10: 256)."""
    optimizer: Literal["sgd", "adam"] | None = None
    """What trains; default: the experiment's own."""
    learning_rate: float | None = None
    """Of the optimizer; default: the data set's own (cifar10: 0.01)."""
    momentum: float | None = None
    """Of SGD; default: the data set's own (cifar10: 0.9)."""
    validation_fraction: float = 0.1
    """Share of the training samples that chooses the epoch."""
    verbose: Literal[0, 1, 2] | None = None
    """As in fit: 1 progress bars, 2 a line an epoch, 0 a line a run; default: 1 (digits: 0)."""

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ExperimentError: Says which option, what it is, and what it should be.
        """
        for name, least in (("epochs", 1), ("batch_size", 1), ("limit", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ExperimentError(f"{_flag(name)} is {value}: expected at least {least}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ExperimentError(
                f"--learning-rate is {self.learning_rate}: expected a positive number."
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ExperimentError(f"--momentum is {self.momentum}: expected 0 to below 1.")
        if not 0 < self.validation_fraction < 1:
            raise ExperimentError(
                f"--validation-fraction is {self.validation_fraction}: expected a number between "
                "0 and 1; it chooses the epoch."
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ExperimentError(
                f"--seeds is {' '.join(map(str, self.seeds)) or 'empty'}: expected different "
                "integers of at least 0."
            )
        if max(self.seeds) >= 2**32:
            raise ExperimentError(f"--seeds has {max(self.seeds)}: expected below 2**32.")

    def recipe(self, defaults: Recipe) -> Recipe:
        """Return the data set's recipe with what was given on the command line.

        Raises:
            ExperimentError: A momentum for an optimizer other than SGD.
        """
        given = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "learning_rate", "momentum")
            if getattr(self, name) is not None
        }
        recipe = dataclasses.replace(
            defaults, **given, algorithm=self.optimizer or defaults.algorithm
        )
        if self.momentum is not None and recipe.algorithm != "sgd":
            raise ExperimentError(
                f"--momentum is {self.momentum}, but the optimizer is {recipe.algorithm}: expected "
                "SGD. Leave --momentum out, or pass --optimizer sgd."
            )
        return recipe

    def check_rank(self, samples: int, rank: int) -> None:
        """Refuse a basis of more columns than there are samples to compute it from.

        Args:
            samples: Of the training set, the validation part included.
            rank: The largest that is asked for.

        Raises:
            ExperimentError: Too few samples are left to train on.
        """
        training = samples * (1 - self.validation_fraction)
        if training <= rank:
            raise ExperimentError(
                f"{training:.0f} samples are left to train on: a basis of rank {rank} needs more. "
                "Raise --limit."
            )

    def folder(self, experiment: str) -> Path:
        """Return where the results go."""
        if self.output_dir is not None:
            return self.output_dir
        described = environment()
        device = _slug(described["device"]) if described["accelerator"] else "cpu"
        return Path("results", experiment, f"{self.dataset}-{described['backend']}-{device}")

    def command(self, experiment: str) -> str:
        """Return a command that repeats the experiment, with no path of this machine in it."""
        parts = [f"python experiments/{experiment}.py"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("output_dir", "verbose") or value == field.default:
                continue
            if field.name == "data_dir":
                value = "FOLDER"
            text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts.append(f"{_flag(field.name)} {text}")
        return " ".join(parts)


def _slug(text):
    """`"NVIDIA H200"` -> `"nvidia-h200"`: fit for a folder's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _flag(name):
    return "--" + name.replace("_", "-")
