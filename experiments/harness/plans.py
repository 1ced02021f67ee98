"""What is trained: a recipe, what the rows of a seed share, and what each row makes of it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from harness.splits import Split

if TYPE_CHECKING:
    from harness.training import EpochEvaluation


def cross_entropy() -> keras.losses.Loss:
    """Make the loss of integer labels and logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How all rows of an experiment are trained.

    Args:
        epochs: Passes over the training part, at least 1.
        batch_size: Samples in a step.
        learning_rate: Of the optimizer.
        momentum: Of SGD, 0 to below 1.
        algorithm: `"sgd"` or `"adam"`, the latter with Keras' own moments.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    algorithm: Literal["sgd", "adam"] = "sgd"

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Make a fresh optimizer."""
        if self.algorithm == "adam":
            return keras.optimizers.Adam(self.learning_rate)
        return keras.optimizers.SGD(self.learning_rate, momentum=self.momentum)

    def settings(self) -> dict[str, Any]:
        """Return what a result depends on, as JSON values."""
        shared = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }
        if self.algorithm == "sgd":
            return {**shared, "momentum": self.momentum}
        return {**shared, "optimizer": self.algorithm}

    def steps(self, samples: int) -> int:
        """Return the number of updates in an epoch of so many samples."""
        return -(-samples // self.batch_size)


@dataclasses.dataclass
class Trial:
    """What all rows of one seed share.

    Args:
        seed: Of the split, the initial weights and the shuffles.
        split: Normalised data, flat or as images.
        recipe: How to train.
        folder: Where rows may keep what other rows need.
    """

    seed: int
    split: Split
    recipe: Recipe
    folder: Path | None = None
    _shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what `make()` returned when it was first asked for under `key`."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def timed(self, key: str, make: Callable[[], Any]) -> tuple[Any, float]:
        """Return what `shared` returns, and the seconds that it took to make."""

        def timed() -> tuple[Any, float]:
            start = time.perf_counter()
            return make(), time.perf_counter() - start

        return self.shared(key, timed)


@dataclasses.dataclass
class Plan:
    """What a row trains.

    Args:
        model: The built model, which is evaluated; one output a class.
        callbacks: For `fit`.
        optimizer: Instead of the recipe's.
        loss: Of integer labels and the model's outputs.
        trained: What `fit` is called on where that is another model that shares the variables.
        x_train: What `fit` is given instead of the split's samples; a `batches.Shuffled` has its
            own labels, batch size and order.
        facts: JSON values for the result file (`"rank"`, `"basis_seconds"`, ...).
        recipe: Instead of the trial's.
        measures: Name -> what is measured after each epoch and kept in the history. Where
            `"sparsity"` is among them, only epochs as sparse as the last may be chosen.
        fit: Trains instead of Keras' `fit`, and tells the evaluation of each epoch.
        finish: Called after the training with the weights of the chosen epoch; returns more facts.
        measured: What is counted and timed where that is another model, such as one with a head
            that makes probabilities; `finish` may set it.
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
    fit: "Callable[[EpochEvaluation], None] | None" = None
    finish: Callable[[list[np.ndarray]], dict[str, Any]] | None = None
    measured: keras.Model | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: Lower-case, unique, with the rank: names the result files.
        method: What rows of different rank have in common; one colour in the plots.
        settings: JSON values that the run depends on beyond the recipe.
        build: Makes the model from what the rows of a seed share.
        note: Printed below the table.
        obstacle: Why the row cannot be run here, if so.
    """

    name: str
    method: str
    settings: dict[str, Any]
    build: Callable[[Trial], Plan]
    note: str = ""
    obstacle: str | None = None
