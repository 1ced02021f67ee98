"""One run: build a row's model, train it, evaluate it after each epoch, measure it."""

import datetime
import math
import statistics
import time
from typing import Any

import keras
import numpy as np

from harness.batches import Shuffled
from harness.plans import Plan, Recipe, Row, Trial
from keras_sac import footprint, latency
from keras_sac.analysis import environment

EVALUATION_BATCH = 2000
LATENCY_BATCHES = (1, 256)
# Keras' stubs know "auto" only.
_QUIET: Any = 0


class EpochEvaluation(keras.callbacks.Callback):
    """Times the training part of each epoch and evaluates a model after it.

    Args:
        plan: Whose model is evaluated, possibly another one than the one that `fit` trains.
        trial: Data and seed; the seed decides the order of the samples, together with the epoch.
    """

    def __init__(self, plan: Plan, trial: Trial):
        super().__init__()
        split = trial.split
        self._plan, self._seed = plan, trial.seed
        # Both parts in one array: one call an epoch, and fewer shapes to compile for.
        self._samples = trial.shared(
            "evaluated samples", lambda: np.concatenate([split.x_val, split.x_test])
        )
        self._labels = {"val": split.y_val, "test": split.y_test}
        self.history: dict[str, list[float]] = {}
        self._weights: list[list[np.ndarray]] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Draw all rows' shuffles alike, whatever else took random numbers; start the clock."""
        drawn = np.random.SeedSequence([self._seed, epoch]).generate_state(1)[0]
        keras.utils.set_random_seed(int(drawn))
        if isinstance(self._plan.x_train, Shuffled):
            self._plan.x_train.begin_epoch(epoch)
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock, then evaluate."""
        logs = {} if logs is None else logs
        # The logs are numbers by now, so the device has finished the epoch.
        values = {"seconds": time.perf_counter() - self._start}
        values |= {
            name: float(logs[name]) for name in ("seconds", "loss", "accuracy") if name in logs
        }
        values |= self.evaluate()
        values |= {name: measure() for name, measure in self._plan.measures.items()}
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        # Keras' progress bar shows what the logs hold.
        logs.update({k: v for k, v in values.items() if k.endswith("_accuracy")})
        if self._plan.finish is not None:
            # All of them: a later epoch may be less sparse, and bring back one that was left out.
            self._weights.append(self._plan.model.get_weights())

    def chosen_weights(self) -> list[np.ndarray]:
        """Return the weights after the chosen epoch; kept where the plan has a `finish`."""
        return self._weights[int(choose(self.history)["chosen_epoch"]) - 1]

    def evaluate(self) -> dict[str, float]:
        """Return loss and accuracy of the model as it is now, on both parts."""
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
    split = trial.split
    # Collecting garbage takes as long as a small run; copies of large data are worth it.
    keras.utils.clear_session(free_memory=split.x_train.nbytes > 2**24)
    keras.utils.set_random_seed(trial.seed)
    plan = row.build(trial)
    recipe, trained = plan.recipe or trial.recipe, plan.trained or plan.model
    trained.compile(plan.optimizer or recipe.optimizer(), loss=plan.loss, metrics=["accuracy"])
    before = _trained(plan.model)
    evaluation = EpochEvaluation(plan, trial)
    # Building a model draws numbers too, and some backends fix the shuffles before the first epoch.
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
    takes = footprint(measured, split.x_test, compression=False).iloc[-1]
    return {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "counts": {
            "trainable": max(before, _trained(measured)),
            "stored": int(takes["parameters"]),
            "macs": int(takes["macs"]),
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


def _trained(model: keras.Model) -> int:
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def _latency(model: keras.Model, x: np.ndarray) -> list[dict[str, Any]]:
    found = latency(model, x, batch_sizes=LATENCY_BATCHES, repeats=50, seconds=0.5)
    kept = found[["batch_size", "median_ms", "repeats"]].round({"median_ms": 4})
    return kept.to_dict("records")


def _data(plan: Plan, x: np.ndarray, y: np.ndarray, recipe: Recipe) -> dict[str, Any]:
    if isinstance(plan.x_train, Shuffled):
        return {"x": plan.x_train, "shuffle": False}
    return {
        "x": x if plan.x_train is None else plan.x_train,
        "y": y,
        "batch_size": recipe.batch_size,
    }


def choose(history: dict[str, list[float]]) -> dict[str, float]:
    """Choose an epoch on the validation part and read the test accuracy there.

    The epoch of the highest validation accuracy, among equals that of the lowest validation loss,
    then the earliest. `best_test_*` is chosen on the test part itself, so it is optimistic. Where
    the history has a `sparsity`, epochs that are less sparse than the last one are left out.

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
    test = np.asarray(history["test_accuracy"], "float64")
    sparsity = np.asarray(history.get("sparsity", np.zeros(len(test))))
    # A weight may come to be zero by chance.
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
