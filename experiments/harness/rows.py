"""Rows of the results table: how each row builds its model, and how it is trained."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from harness.splits import Split


def cross_entropy() -> keras.losses.Loss:
    """Return the cross-entropy of integer labels and logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Training settings: SGD, or Adam with Keras' default moments."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9  # of SGD
    algorithm: Literal["sgd", "adam"] = "sgd"

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Return a new optimizer."""
        if self.algorithm == "adam":
            return keras.optimizers.Adam(self.learning_rate)
        return keras.optimizers.SGD(self.learning_rate, momentum=self.momentum)

    def settings(self) -> dict[str, Any]:
        """Return the settings that a result depends on, as JSON values."""
        shared = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        if self.algorithm == "sgd":
            return {**shared, "momentum": self.momentum}
        return {**shared, "optimizer": self.algorithm}

    def steps(self, split: Split) -> int:
        """Return the number of steps in an epoch."""
        return -(-len(split.x_train) // self.batch_size)


@dataclasses.dataclass
class Trial:
    """Data and settings that all rows of one seed share.

    Args:
        seed: of the split, the initial weights and the shuffles.
        split: normalized data, as vectors or as images.
        recipe: training settings.
        folder: output folder, where rows may keep files for other rows.
    """

    seed: int
    split: Split
    recipe: Recipe
    folder: Path | None = None
    _shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """Return `make()`, computed at the first call with this key and kept for later calls."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def timed(self, key: str, make: Callable[[], Any]) -> tuple[Any, float]:
        """Return the value of `shared` and the seconds that computing it took."""

        def timed() -> tuple[Any, float]:
            start = time.perf_counter()
            return make(), time.perf_counter() - start

        return self.shared(key, timed)


@dataclasses.dataclass
class Plan:
    """A model and how to train and measure it.

    Args:
        model: built model with one output per class. It is evaluated after each epoch.
        callbacks: passed to `fit`.
        optimizer: replaces the optimizer of the recipe.
        loss: of integer labels and the outputs of the model.
        trained: the model to call `fit` on, if it is another one that shares the variables.
        x_train: replaces the training samples. A `ShuffledBatches` has its own labels, batch size
            and order.
        facts: JSON values for the result file, such as `"rank"`.
        recipe: replaces the recipe of the trial.
        measures: name -> function that is called after each epoch; its values are kept in the
            history. With `"sparsity"`, only epochs as sparse as the last one can be chosen.
        fit: replaces Keras' `fit`. Receives the callback that evaluates each epoch.
        finish: called after training with the weights of the chosen epoch. Returns more facts.
        measured: the model whose parameters, MACs and latency are reported, if it is another one.
            `finish` may set it.
    """

    model: keras.Model
    callbacks: list[keras.callbacks.Callback] = dataclasses.field(default_factory=list)
    optimizer: keras.optimizers.Optimizer | None = None
    loss: keras.losses.Loss = dataclasses.field(default_factory=cross_entropy)
    trained: keras.Model | None = None
    x_train: Any = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    recipe: Recipe | None = None
    measures: dict[str, Callable[[], float]] = dataclasses.field(default_factory=dict)
    fit: Callable[[keras.callbacks.Callback], None] | None = None
    finish: Callable[[list[np.ndarray]], dict[str, Any]] | None = None
    measured: keras.Model | None = None


class Row:
    """One row of the table. A run of it trains the model that `build` returns.

    Args:
        name: unique lower-case name, also of the result files.
        build: called as `build(trial, **arguments)`; returns a `Plan`.
        method: shared by rows that differ in rank or strength; they have one colour in plots.
            Defaults to the name.
        note: printed below the table.
        skip_reason: why the row cannot be run here, or None. Set when `build` raises `CannotRun`.
        check: called as `check(trial, **arguments)` before anything is trained; raises an
            `ExperimentError` if the row cannot be trained with these arguments.
        arguments: JSON values or recipes, passed to `build` and recorded in the result files. There
            must be more training samples than a `rank`.

    Examples:
        >>> Row("pca-8", lambda trial, rank: ..., method="pca", rank=8).settings
        {'method': 'pca', 'rank': 8}
    """

    def __init__(
        self,
        name: str,
        build: Callable[..., Plan],
        *,
        method: str | None = None,
        note: str = "",
        skip_reason: str | None = None,
        check: Callable[..., object] | None = None,
        **arguments: Any,
    ):
        self.name, self.method, self.note = name, method or name, note
        self.skip_reason, self.arguments = skip_reason, arguments
        self._build, self._check = build, check

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that a result depends on beyond the recipe, as JSON values."""
        plain = {
            name: value.settings() if isinstance(value, Recipe) else value
            for name, value in self.arguments.items()
        }
        return {"method": self.method, **plain}

    def check(self, trial: Trial) -> None:
        """Raise an `ExperimentError` if the row cannot be trained."""
        if self._check is not None:
            self._check(trial, **self.arguments)

    def plan(self, trial: Trial) -> Plan:
        """Build the model of this row for one seed."""
        return self._build(trial, **self.arguments)
