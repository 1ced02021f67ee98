"""Train a row with tensorflow_model_optimization in a child process."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness import ExperimentError, pruning_network
from harness.pruning_methods import check_gradual
from harness.rows import Plan, Trial
from harness.shuffled_batches import sample_order
from harness.sparse_training import polynomial_schedule, shuffled_plan, sparsity_facts

_CHILD = Path(__file__).with_name("tfmot_child.py")


def skip_reason() -> str | None:
    """Return why tfmot cannot be run here, or None."""
    needed = ("tensorflow", "tf_keras", "tensorflow_model_optimization")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"not installed: {', '.join(missing)}; pip install 'keras-sac[tensorflow,tfmot]'"


def check_tfmot(trial: Trial, padding: str, **schedule: Any) -> None:
    """Raise an `ExperimentError` if the schedule or the optimizer does not fit."""
    check_gradual(trial, padding, **schedule)
    if trial.recipe.algorithm != "adam":
        raise ExperimentError(
            f"The tfmot rows need --optimizer adam. Received: {trial.recipe.algorithm}. Choose "
            "other rows with --runs."
        )


def build_tfmot(trial: Trial, padding: str, *, sparsity: float, **schedule: Any) -> Plan:
    """Prune as `pruning_methods.build_gradual`, from the same weights, with tfmot.

    The child process returns its weights after each epoch. Accuracy and zeros are measured here,
    like those of every other row.
    """
    model = pruning_network.network(trial, padding)
    plan = shuffled_plan(trial, model)
    steps = trial.recipe.epochs * trial.recipe.steps(trial.split)
    decay = polynomial_schedule(steps, sparsity, **schedule).get_config()
    plan.facts["schedule"] = decay

    def fit(evaluation: keras.callbacks.Callback) -> None:
        out = _run_child(trial, padding, decay, model.get_weights())
        plan.facts["child_versions"] = json.loads(str(out["versions"]))
        for epoch in range(trial.recipe.epochs):
            evaluation.on_epoch_begin(epoch)
            model.set_weights([out[f"epoch_{epoch}_{i}"] for i in range(len(model.weights))])
            logs = zip(("seconds", "loss", "accuracy"), out[f"logs_{epoch}"], strict=True)
            evaluation.on_epoch_end(epoch, dict(logs))

    plan.fit = fit
    plan.finish = lambda _: sparsity_facts(model)
    return plan


def _run_child(
    trial: Trial, padding: str, schedule: dict[str, Any], weights: list[np.ndarray]
) -> dict[str, np.ndarray]:
    recipe, split = trial.recipe, trial.split
    orders = [sample_order(len(split.x_train), trial.seed, e) for e in range(recipe.epochs)]
    job = {
        "layers": pruning_network.layers(split.classes, padding),
        "weights": len(weights),
        # tfmot has no update of the masks at the end, but here the end is a multiple anyway.
        "schedule": {name: schedule[name] for name in schedule if name != "prune_at_end"},
        "learning_rate": recipe.learning_rate,
        "batch_size": recipe.batch_size,
    }
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environment |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        arrays: dict[str, Any] = {f"weight_{i}": weight for i, weight in enumerate(weights)}
        arrays |= {"x": split.x_train, "y": split.y_train, "orders": np.array(orders)}
        np.savez(folder / "in.npz", **arrays)
        # -P: files of the harness must not hide other modules from the child.
        child = subprocess.run(
            [sys.executable, "-P", str(_CHILD), str(folder)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if child.returncode:
            last = child.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ExperimentError(
                f"The tfmot process failed with code {child.returncode}: {last[0]}. Choose other "
                "rows with --runs, or check the installed versions of tensorflow and tf_keras."
            )
        with np.load(folder / "out.npz", allow_pickle=False) as out:
            return dict(out)
