"""The same training by tensorflow_model_optimization, where that is installed."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from harness import networks
from harness.batches import order
from harness.errors import ExperimentError
from harness.plans import Plan, Trial
from harness.pruned import schedule, steps_of
from harness.training import EpochEvaluation

_CHILD = Path(__file__).with_name("tfmot_child.py")


def obstacle() -> str | None:
    """Return why tfmot cannot be run here; None if it can."""
    needed = ("tensorflow", "tf_keras", "tensorflow_model_optimization")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"not installed: {', '.join(missing)}; pip install 'keras-sac[tensorflow,tfmot]'"


def build_tfmot(trial: Trial, padding: str, final: float, frequency: int) -> Plan:
    """Prune as `pruned.build_gradual` does, from the same weights, by tfmot in a child process.

    The child gives back its weights after each epoch; accuracy and zeros are measured here, as
    those of every other row.
    """
    model = networks.network(trial, padding)
    own = networks.plan(trial, model)
    wanted = schedule(final, steps_of(trial), frequency).get_config()
    own.facts["schedule"] = wanted

    def fit(evaluation: EpochEvaluation) -> None:
        out = _run_child(trial, padding, wanted, model.get_weights())
        own.facts["child_versions"] = json.loads(str(out["versions"]))
        for epoch in range(trial.recipe.epochs):
            evaluation.on_epoch_begin(epoch)
            model.set_weights([out[f"epoch_{epoch}_{i}"] for i in range(len(model.weights))])
            logs = zip(("seconds", "loss", "accuracy"), out[f"logs_{epoch}"], strict=True)
            evaluation.on_epoch_end(epoch, dict(logs))

    own.fit = fit
    own.finish = lambda _: networks.zeros(model)
    return own


def _run_child(
    trial: Trial, padding: str, wanted: dict[str, Any], weights: list[np.ndarray]
) -> dict[str, np.ndarray]:
    recipe, split = trial.recipe, trial.split
    if recipe.algorithm != "adam":
        raise ExperimentError(
            f"the optimizer is {recipe.algorithm}: the tfmot rows are trained with adam only. "
            "Leave them out of --runs."
        )
    orders = [order(len(split.x_train), trial.seed, epoch) for epoch in range(recipe.epochs)]
    job = {
        "layers": networks.layers(split.classes, padding),
        "weights": len(weights),
        # tfmot has no refresh at the end whatever the frequency; here both end on a multiple.
        "schedule": {name: wanted[name] for name in wanted if name != "prune_at_end"},
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
        # -P: the harness' own file names must not hide other modules from the child.
        child = subprocess.run(
            [sys.executable, "-P", str(_CHILD), str(folder)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if child.returncode:
            last = child.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ExperimentError(
                f"the tfmot process ended with code {child.returncode}: {last[0]}. Run the other "
                "rows by --runs, or check the installed versions of tensorflow and tf_keras."
            )
        with np.load(folder / "out.npz", allow_pickle=False) as out:
            return dict(out)
