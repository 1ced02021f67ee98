"""Train one row of the table for one seed, evaluate it after each epoch, and measure it."""

import datetime
import math
import statistics
import time
from typing import Any

import keras
import numpy as np

from harness.rows import Plan, Recipe, Row, Trial
from harness.shuffled_batches import ShuffledBatches
from keras_sac import footprint, latency
from keras_sac.analysis import environment

EVALUATION_BATCH = 2000
LATENCY_BATCHES = (1, 256)
# Keras' type stubs allow only "auto".
_QUIET: Any = 0


class EpochEvaluation(keras.callbacks.Callback):
    """Time the training of each epoch and evaluate the model of a plan after it.

    Args:
        plan: its `model` is evaluated, even if `fit` trains another one.
        trial: data and seed. Seed and epoch decide the order of the samples.
    """

    def __init__(self, plan: Plan, trial: Trial):
        super().__init__()
        split = trial.split
        self._plan, self._seed = plan, trial.seed
        # Both parts in one array: one call per epoch, and fewer shapes to compile.
        self._samples = trial.shared(
            "evaluated samples", lambda: np.concatenate([split.x_val, split.x_test])
        )
        self._labels = {"val": split.y_val, "test": split.y_test}
        self.history: dict[str, list[float]] = {}
        self._weights: list[list[np.ndarray]] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Set the random seed, so that all rows shuffle alike, and start the clock."""
        drawn = np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0]
        keras.utils.set_random_seed(int(drawn))
        if isinstance(self._plan.x_train, ShuffledBatches):
            self._plan.x_train.begin_epoch(epoch)
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock, then evaluate."""
        logs = {} if logs is None else logs
        # The logs are numbers already, so the device has finished the epoch.
        values = {"seconds": time.perf_counter() - self._start}
        values |= {
            name: float(logs[name]) for name in ("seconds", "loss", "accuracy") if name in logs
        }
        values |= self.evaluate()
        values |= {name: measure() for name, measure in self._plan.measures.items()}
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        # Keras' progress bar shows the logs.
        logs.update({k: v for k, v in values.items() if k.endswith("_accuracy")})
        if self._plan.finish is not None:
            # Of every epoch: a later one may be less sparse, and make an excluded one valid again.
            self._weights.append(self._plan.model.get_weights())

    def chosen_weights(self) -> list[np.ndarray]:
        """Return the weights after the chosen epoch. They are kept if the plan has a `finish`."""
        return self._weights[int(choose(self.history)["chosen_epoch"]) - 1]

    def evaluate(self) -> dict[str, float]:
        """Return loss and accuracy of the current model on the validation and the test part."""
        outputs = self._plan.model.predict(
            self._samples, batch_size=EVALUATION_BATCH, verbose=_QUIET
        )
        first, values = len(self._labels["val"]), {}
        for part, rows in (("val", outputs[:first]), ("test", outputs[first:])):
            labels = self._labels[part]
            loss = self._plan.loss(labels, rows)
            values[f"{part}_loss"] = float(keras.ops.convert_to_numpy(loss))
            values[f"{part}_accuracy"] = float(np.mean(rows.argmax(axis=1) == labels))
        return values


def without_training(evaluation: EpochEvaluation) -> None:
    """Evaluate the model of a plan as it is: a `Plan.fit` for models that are made, not trained."""
    evaluation.on_epoch_begin(0)
    evaluation.on_epoch_end(0)


def train_row(row: Row, trial: Trial, verbose: int = 1) -> dict[str, Any]:
    """Train and measure one row.

    Args:
        row: the row.
        trial: data, seed and recipe.
        verbose: as in `keras.Model.fit`.

    Returns:
        The content of a result file: environment, counts, facts, history, result, seconds, latency.
    """
    begin = time.perf_counter()
    split = trial.split
    # Collecting garbage takes as long as a small run. Do it only to free copies of large data.
    keras.utils.clear_session(free_memory=split.x_train.nbytes > 2**24)
    keras.utils.set_random_seed(trial.seed)
    plan = row.plan(trial)
    recipe, trained = plan.recipe or trial.recipe, plan.trained or plan.model
    trained.compile(plan.optimizer or recipe.optimizer(), loss=plan.loss, metrics=["accuracy"])
    before = _trainable(plan.model)
    evaluation = EpochEvaluation(plan, trial)
    # Building a model draws numbers too, and some backends shuffle before the first epoch begins.
    keras.utils.set_random_seed(trial.seed)
    if plan.fit is not None:
        plan.fit(evaluation)
    else:
        trained.fit(
            **_data(plan, split.x_train, split.y_train, recipe),
            epochs=recipe.epochs,
            callbacks=[evaluation, *plan.callbacks],
            verbose=verbose,
        )
    history = evaluation.history
    if plan.finish is not None:
        plan.facts |= plan.finish(evaluation.chosen_weights())
    measured = plan.measured or plan.model
    total = footprint(measured, split.x_test, compression=False).attrs["total"]
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "counts": {
            "trainable": max(before, _trainable(measured)),
            "stored": total["parameters"],
            "macs": total["macs"],
        },
        "facts": plan.facts,
        "history": history,
        "result": choose(history),
        "latency": _latency(measured, split.x_test),
        "seconds": {
            "first_epoch": history["seconds"][0],
            "epoch": statistics.median(history["seconds"][1:] or history["seconds"]),
            "run": time.perf_counter() - begin,
        },
    }


def _trainable(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _latency(model: keras.Model, x: np.ndarray) -> list[dict[str, Any]]:
    found = latency(model, x, batch_sizes=LATENCY_BATCHES, repeats=50, seconds=0.5)
    kept = found[["batch_size", "median_ms", "repeats"]].round({"median_ms": 4})
    return kept.to_dict("records")


def _data(plan: Plan, x: np.ndarray, y: np.ndarray, recipe: Recipe) -> dict[str, Any]:
    if isinstance(plan.x_train, ShuffledBatches):
        return {"x": plan.x_train, "shuffle": False}
    return {
        "x": x if plan.x_train is None else plan.x_train,
        "y": y,
        "batch_size": recipe.batch_size,
    }


def choose(history: dict[str, list[float]]) -> dict[str, float]:
    """Choose an epoch on the validation part and return its test accuracy.

    The chosen epoch has the highest validation accuracy; ties are broken by the lowest validation
    loss, then by the earliest epoch. `best_test_*` is chosen on the test part, so it is optimistic.
    If the history has a `sparsity`, epochs that are less sparse than the last one are excluded.

    Args:
        history: lists over the epochs: `val_accuracy`, `val_loss`, `test_accuracy`.

    Returns:
        Accuracies in 0..1, and epochs counted from 1.

    Examples:
        >>> choose({"val_accuracy": [0.5, 0.7], "val_loss": [1, 1], "test_accuracy": [0.6, 0.5]})[
        ...     "test_accuracy"
        ... ]
        0.5
    """
    loss = np.nan_to_num(np.asarray(history["val_loss"], "float64"), nan=np.inf)
    test = np.asarray(history["test_accuracy"], "float64")
    sparsity = np.asarray(history.get("sparsity", np.zeros(len(test))))
    # With a tolerance, because a single weight may become zero by chance.
    early = sparsity < sparsity[-1] - 1e-4
    order = np.lexsort((loss, -np.asarray(history["val_accuracy"]), early))
    chosen, best = int(order[0]), int(np.argmax(np.where(early, -1, test)))
    return {
        "chosen_epoch": chosen + 1,
        "test_accuracy": float(test[chosen]),
        "val_accuracy": history["val_accuracy"][chosen],
        "best_test_epoch": best + 1,
        "best_test_accuracy": float(test[best]),
        "final_test_accuracy": float(test[-1]),
    }
