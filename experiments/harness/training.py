"""One run: build a row's model, train it, evaluate it after each epoch, measure it."""

import dataclasses
import datetime
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from harness import counts, latency
from harness.splits import Split
from keras_sac.analysis import environment

EVALUATION_BATCH = 2000
# Keras' stubs know "auto" only.
_QUIET: Any = 0


def cross_entropy() -> keras.losses.Loss:
    """Make the loss of integer labels and logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How all rows of an experiment are trained.

    Args:
        epochs: Passes over the training part, at least 1.
        batch_size: Samples in a step.
        learning_rate: Of SGD.
        momentum: Of SGD, 0 to below 1.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Make a fresh optimizer."""
        return keras.optimizers.SGD(self.learning_rate, momentum=self.momentum)


@dataclasses.dataclass
class Trial:
    """What all rows of one seed share.

    Args:
        seed: Of the split, the initial weights and the shuffles.
        split: Normalised data, flat or as images.
        recipe: How to train.
    """

    seed: int
    split: Split
    recipe: Recipe
    _shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """Return what `make()` returned when it was first asked for under `key`."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


@dataclasses.dataclass
class Plan:
    """What a row trains.

    Args:
        model: The built model, which is evaluated and counted; one output a class.
        callbacks: For `fit`.
        optimizer: Instead of the recipe's.
        loss: Of integer labels and the model's outputs.
        trained: What `fit` is called on where that is another model that shares the variables.
        x_train: What `fit` is given instead of the split's samples.
        facts: JSON values for the result file (`"rank"`, `"basis_seconds"`, ...).
    """

    model: keras.Model
    callbacks: list[keras.callbacks.Callback] = dataclasses.field(default_factory=list)
    optimizer: keras.optimizers.Optimizer | None = None
    loss: keras.losses.Loss = dataclasses.field(default_factory=cross_entropy)
    trained: keras.Model | None = None
    x_train: Any = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: Lower-case, unique, with the rank: names the result files.
        method: What rows of different rank have in common; one colour in the plots.
        settings: JSON values that the run depends on beyond the recipe.
        build: Makes the model from what the rows of a seed share.
        note: Printed below the table.
    """

    name: str
    method: str
    settings: dict[str, Any]
    build: Callable[[Trial], Plan]
    note: str = ""


class EpochEvaluation(keras.callbacks.Callback):
    """Times the training part of each epoch and evaluates a model after it.

    Args:
        evaluated: The whole model, possibly another one than the one that `fit` trains.
        loss: Of labels and the model's outputs.
        trial: Data and seed; the seed decides the order of the samples, together with the epoch.
    """

    def __init__(self, evaluated: keras.Model, loss: keras.losses.Loss, trial: Trial):
        super().__init__()
        split = trial.split
        self._evaluated, self._loss, self._seed = evaluated, loss, trial.seed
        # Both parts in one array: one call an epoch, and fewer shapes to compile for.
        self._samples = trial.shared(
            "evaluated samples", lambda: np.concatenate([split.x_val, split.x_test])
        )
        self._labels = {"val": split.y_val, "test": split.y_test}
        self.history: dict[str, list[float]] = {}
        self._start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Draw all rows' shuffles alike, whatever else took random numbers; start the clock."""
        drawn = np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0]
        keras.utils.set_random_seed(int(drawn))
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock, then evaluate."""
        logs = {} if logs is None else logs
        # The logs are numbers by now, so the device has finished the epoch.
        values = {"seconds": time.perf_counter() - self._start}
        values |= {name: float(logs[name]) for name in ("loss", "accuracy") if name in logs}
        outputs = self._evaluated.predict(
            self._samples, batch_size=EVALUATION_BATCH, verbose=_QUIET
        )
        first = len(self._labels["val"])
        for part, rows in (("val", outputs[:first]), ("test", outputs[first:])):
            labels = self._labels[part]
            values[f"{part}_loss"] = float(keras.ops.convert_to_numpy(self._loss(labels, rows)))
            values[f"{part}_accuracy"] = float(np.mean(rows.argmax(axis=1) == labels))
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        # Keras' progress bar shows what the logs hold.
        logs.update({k: v for k, v in values.items() if k.endswith("_accuracy")})


def run(row: Row, trial: Trial, verbose: int = 1) -> dict[str, Any]:
    """Train and measure one row.

    Args:
        row: What to train.
        trial: Data, seed and recipe.
        verbose: As in `keras.Model.fit`.

    Returns:
        JSON values: environment, counts, facts, history, result, seconds, latency.
    """
    begin = time.perf_counter()
    recipe, split = trial.recipe, trial.split
    # Collecting garbage takes as long as a small run; copies of large data are worth it.
    keras.utils.clear_session(free_memory=split.x_train.nbytes > 2**24)
    keras.utils.set_random_seed(trial.seed)
    plan = row.build(trial)
    trained = plan.trained or plan.model
    trained.compile(plan.optimizer or recipe.optimizer(), loss=plan.loss, metrics=["accuracy"])
    before = counts.parameters(plan.model)
    evaluation = EpochEvaluation(plan.model, plan.loss, trial)
    # Building a model draws numbers too, and some backends fix the shuffles before the first epoch.
    keras.utils.set_random_seed(trial.seed)
    trained.fit(
        split.x_train if plan.x_train is None else plan.x_train,
        split.y_train,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        callbacks=[evaluation, *plan.callbacks],
        verbose=verbose,
    )
    history = evaluation.history
    after = counts.parameters(plan.model)
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "counts": {
            **after,
            "trainable": max(before["trainable"], after["trainable"]),
            "macs": counts.macs(plan.model),
        },
        "facts": plan.facts,
        "history": history,
        "result": choose(history),
        "latency": latency.measure(plan.model, split.x_test),
        "seconds": {
            "first_epoch": history["seconds"][0],
            "epoch": statistics.median(history["seconds"][1:] or history["seconds"]),
            "run": time.perf_counter() - begin,
        },
    }


def choose(history: dict[str, list[float]]) -> dict[str, float]:
    """Choose an epoch on the validation part and read the test accuracy there.

    The epoch of the highest validation accuracy, among equals that of the lowest validation loss,
    then the earliest. `best_test_*` is chosen on the test part itself, so it is optimistic.

    Args:
        history: Lists over the epochs: `val_accuracy`, `val_loss`, `test_accuracy`.

    Returns:
        Accuracies in 0..1 and epochs counted from 1.

    Examples:
        >>> choose({"val_accuracy": [0.5, 0.7], "val_loss": [1, 1], "test_accuracy": [0.6, 0.5]})[
        ...     "test_accuracy"
        ... ]
        0.5
    """
    loss = np.nan_to_num(np.asarray(history["val_loss"], "float64"), nan=np.inf)
    order = np.lexsort((loss, -np.asarray(history["val_accuracy"])))
    chosen, test = int(order[0]), history["test_accuracy"]
    best = int(np.argmax(test))
    return {
        "chosen_epoch": chosen + 1,
        "test_accuracy": test[chosen],
        "val_accuracy": history["val_accuracy"][chosen],
        "best_test_epoch": best + 1,
        "best_test_accuracy": test[best],
        "final_test_accuracy": test[-1],
    }
