"""Command-line options of an experiment, and their default values for each data set."""

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from harness import ExperimentError
from harness.rows import Recipe
from keras_sac.analysis import environment


@dataclasses.dataclass(frozen=True)
class Check:
    """Valid values of an option. Annotate the field of the option with it.

    Args:
        expected: describes the valid values in the error message.
        valid: returns whether a value, which may be a tuple, is valid.
    """

    expected: str
    valid: Callable[[Any], bool]


def at_least(least: int) -> Check:
    """Return the check for numbers of at least `least`."""
    return Check(f"at least {least}", lambda value: value >= least)


def distinct(kind: str, valid: Callable[[Any], bool]) -> Check:
    """Return the check for a non-empty tuple of different values."""

    def each(values: tuple) -> bool:
        return 0 < len(set(values)) == len(values) and all(map(valid, values))

    return Check(f"different {kind}", each)


POSITIVE = Check("a positive number", lambda value: 0 < value < math.inf)
POSITIVES = distinct("positive numbers", POSITIVE.valid)
RANKS = distinct("integers of at least 1", lambda value: value >= 1)
_MOMENTUM = Check("at least 0 and below 1", lambda value: 0 <= value < 1)
_FRACTION = Check("above 0 and below 1", lambda value: 0 < value < 1)
_SEEDS = distinct("integers from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every experiment."""

    dataset: Literal["cifar10", "mnist", "digits"] = "cifar10"
    """Data set; digits needs neither network nor files."""
    data_dir: Path | None = None
    """Folder with cifar-10-batches-py/ or cifar10.npz, or with mnist.npz; default: download."""
    epochs: Annotated[int | None, at_least(1)] = None
    """Epochs per run; default: depends on the data set (cifar10: 15)."""
    seeds: Annotated[tuple[int, ...], _SEEDS] = (42, 43, 44)
    """Each row is run once per seed."""
    runs: tuple[str, ...] = ()
    """Names or patterns ('pca-*') of the rows to run; default: all. A wrong name lists them."""
    output_dir: Path | None = None
    """Folder of the results; default: results/<experiment>/<dataset>-<backend>-<device>."""
    limit: Annotated[int | None, at_least(2)] = None
    """Use only the first samples of the training set."""
    batch_size: Annotated[int | None, at_least(1)] = None
    """Samples per step; default: depends on the data set (cifar10: 256)."""
    optimizer: Literal["sgd", "adam"] | None = None
    """Optimizer; default: depends on the experiment."""
    learning_rate: Annotated[float | None, POSITIVE] = None
    """Of the optimizer; default: depends on the data set (cifar10: 0.01)."""
    momentum: Annotated[float | None, _MOMENTUM] = None
    """Of SGD; default: depends on the data set (cifar10: 0.9)."""
    validation_fraction: Annotated[float, _FRACTION] = 0.1
    """Fraction of the training samples that is used to choose the epoch."""
    verbose: Literal[0, 1, 2] | None = None
    """As in fit: 1 progress bars, 2 a line per epoch, 0 a line per run; default: 1 (digits: 0)."""

    def check(self) -> None:
        """Check each option against the `Check` in its annotation.

        Raises:
            ExperimentError: says which option is wrong, its value, and the valid values.
        """
        for name, hint in typing.get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            for check in getattr(hint, "__metadata__", ()):
                if value is not None and not check.valid(value):
                    raise ExperimentError(
                        f"{_flag(name)} must be {check.expected}. "
                        f"Received: {_text(value) or 'nothing'}."
                    )

    def recipe(self, default: Recipe) -> Recipe:
        """Return the recipe of a data set with the values from the command line.

        Raises:
            ExperimentError: a momentum is given for an optimizer other than SGD.
        """
        given = {
            name: getattr(self, name)
            for name in ("epochs", "batch_size", "learning_rate", "momentum")
            if getattr(self, name) is not None
        }
        recipe = dataclasses.replace(
            default, **given, algorithm=self.optimizer or default.algorithm
        )
        if self.momentum is not None and recipe.algorithm != "sgd":
            raise ExperimentError(
                f"--momentum needs SGD. Received: --momentum {self.momentum}, but the optimizer is "
                f"{recipe.algorithm}. Remove --momentum, or pass --optimizer sgd."
            )
        return recipe

    def folder(self, experiment: str) -> Path:
        """Return the folder of the results."""
        if self.output_dir is not None:
            return self.output_dir
        described = environment()
        device = _slug(described["device"]) if described["accelerator"] else "cpu"
        return Path("results", experiment, f"{self.dataset}-{described['backend']}-{device}")

    def command(self, experiment: str) -> str:
        """Return the command that repeats the experiment, without paths of this machine."""
        parts = [f"python experiments/{experiment}.py"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in ("output_dir", "verbose") and value != field.default:
                text = "FOLDER" if isinstance(value, Path) else _text(value)
                parts.append(f"{_flag(field.name)} {text}")
        return " ".join(parts)


@dataclasses.dataclass(frozen=True)
class Setup:
    """Default settings of an experiment on one data set.

    Args:
        recipe: training settings.
        values: further settings by name. An option of the same name overrides them.
        verbose: as in `fit`.
    """

    recipe: Recipe
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verbose: int = 1

    def settings(self, options: Options) -> SimpleNamespace:
        """Return all settings as attributes: those given as options, else those of the data set."""
        named = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        given = {name: value for name, value in named.items() if value is not None}
        own = {"verbose": self.verbose, **self.values}
        return SimpleNamespace(**{**own, **given, "recipe": options.recipe(self.recipe)})


def _slug(text):
    """`"NVIDIA H200"` -> `"nvidia-h200"`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _flag(name):
    return "--" + name.replace("_", "-")


def _text(value):
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
