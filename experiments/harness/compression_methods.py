"""The methods of the compression comparison: low rank, removal and zeros, without training."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_sac
from harness import CannotRun, ExperimentError
from harness.rows import Plan, Trial
from harness.trained_networks import NETWORKS, ImageBatches, trained_network
from harness.training import EpochEvaluation, without_training
from harness.weight_svd import svd_model

CALIBRATION_BATCH = 100
# Keras' type stubs allow only "auto".
_QUIET: Any = 0
# A compressed model, and a record of each of its layers.
Compressed = tuple[keras.Model, list[dict[str, Any]]]


def build_dense(trial: Trial, **source: Any) -> Plan:
    """Build the baseline: the trained network as it is. `source` are arguments of `_plan`."""
    return _plan(trial, lambda model: (model, []), **source)


def build_svd(
    trial: Trial,
    *,
    ranks: str,
    budget: str,
    level: float,
    network: str,
    calibration_samples: int,
    **source: Any,
) -> Plan:
    """Factor the kernels by their own singular value decompositions: see `svd_model`.

    The moving averages of batch normalization are estimated anew from the calibration samples, as
    is usual. `source` are other arguments of `_plan`.
    """

    def compress(model: keras.Model) -> Compressed:
        small, records = svd_model(model, ranks=ranks, budget=budget, level=level)
        _recalibrate(small, trial, calibration_samples)
        return small, records

    return _plan(trial, compress, network=network, **source)


def build_low_rank(
    trial: Trial,
    *,
    criterion: str,
    budget: str,
    level: float,
    round_to: int,
    network: str,
    calibration_samples: int,
    **source: Any,
) -> Plan:
    """Convert the network by `convert_to_sac`. `source` are other arguments of `_plan`."""
    options = {budget: level, "criterion": criterion, "round_to": round_to}
    method = partial(keras_sac.convert_to_sac, **options, verbose=0)
    return _calibrated(trial, method, network, calibration_samples, **source)


def build_zeros(
    trial: Trial,
    *,
    level: float,
    network: str,
    calibration_samples: int,
    criterion: str | None = None,
    pattern: str | None = None,
    budget: str,
    **source: Any,
) -> Plan:
    """Prune the network by `prune_with_data`. `source` are other arguments of `_plan`.

    The pattern decides about the sparsity where there is one.
    """
    options = {
        "sparsity": None if pattern else level,
        "criterion": criterion,
        "pattern": pattern,
    }
    given = {name: value for name, value in options.items() if value is not None}
    method = partial(keras_sac.prune_with_data, **given, verbose=0)
    return _calibrated(trial, method, network, calibration_samples, **source)


def build_removal(
    trial: Trial,
    *,
    selection: str,
    compensate: bool,
    budget: str,
    level: float,
    network: str,
    calibration_samples: int,
    **source: Any,
) -> Plan:
    """Take units out by `remove_units`. `source` are other arguments of `_plan`.

    The budget `"widths"` is the fraction of the units of each layer that is left.
    """
    amount = {"fraction": 1.0 - level} if budget == "widths" else {budget: level}
    options = {**amount, "selection": selection, "compensate": compensate}
    method = partial(keras_sac.remove_units, **options, verbose=0)
    return _calibrated(trial, method, network, calibration_samples, **source)


def build_magnitude(
    trial: Trial,
    *,
    level: float,
    network: str,
    budget: str,
    pattern: str | None = None,
    calibration_samples: int = 0,
    **source: Any,
) -> Plan:
    """Set the weights with the smallest magnitudes of all kernels to zero, and nothing else.

    Args:
        trial: data and seed.
        level: fraction of zeros.
        network: a network of `NETWORKS`.
        budget: `"zeros"`.
        pattern: pruned together, such as `"2:4"`.
        calibration_samples: estimate the moving averages of batch normalization anew from so many
            samples.
        source: other arguments of `_plan`.
    """

    def compress(model: keras.Model) -> Compressed:
        table = keras_sac.prune_to_sparsity(model, level, pattern=pattern, distribution="global")
        if calibration_samples:
            _recalibrate(model, trial, calibration_samples)
        return model, _records(table)

    return _plan(trial, compress, network=network, **source)


def check(
    trial: Trial,
    *,
    calibration_samples: int = 0,
    finetune_limit: int | None = None,
    **_: Any,
) -> None:
    """Raise an `ExperimentError` if there are fewer training samples than a row needs."""
    given = {
        "--calibration-samples": calibration_samples,
        "--finetune-limit": finetune_limit or 0,
    }
    for flag, samples in given.items():
        if samples > len(trial.split.x_train):
            raise ExperimentError(
                f"{flag} must be at most {len(trial.split.x_train)}, the samples of the training "
                f"part. Received: {samples}."
            )


def _recalibrate(model: keras.Model, trial: Trial, samples: int) -> None:
    keras_sac.recalibrate_batch_norm(model, calibration_data(trial, samples)[0])


def calibration_data(trial: Trial, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples of the training part, other ones for each seed."""
    split = trial.split
    chosen = np.random.default_rng(trial.seed).choice(len(split.x_train), samples, replace=False)
    return split.x_train[chosen], split.y_train[chosen]


def _calibrated(
    trial: Trial,
    method: Callable[[keras.Model, Any], tuple[keras.Model, Any]],
    network: str,
    samples: int,
    networks_dir: Path | None,
    **source: Any,
) -> Plan:
    """Plan a row that needs a calibration, which all rows of a network and a seed share.

    A budget that the method cannot meet is a row that cannot be run.
    """

    def calibrate() -> Any:
        x, y = calibration_data(trial, samples)
        model = _trained(trial, network, networks_dir)
        return keras_sac.Calibration.from_data(model, x, y, batch_size=CALIBRATION_BATCH, verbose=0)

    calibration, seconds = trial.timed(f"{network} calibration", calibrate)

    def compress(model: keras.Model) -> Compressed:
        try:
            small, report = method(model, calibration)
        except ValueError as error:
            if "budget cannot be met" not in str(error):
                raise
            raise CannotRun(str(error)) from error
        return small, _records(report)

    plan = _plan(trial, compress, network=network, networks_dir=networks_dir, **source)
    plan.facts["calibration_seconds"] = seconds
    return plan


def _plan(
    trial: Trial,
    compress: Callable[[keras.Model], Compressed],
    *,
    network: str,
    networks_dir: Path | None,
    finetune_limit: int | None,
) -> Plan:
    """Plan a row: load the network, compress it, evaluate it, then fine-tune it by the recipe.

    Fine-tuning keeps the zeros, and trains the learners of SAC layers but not their bases. The rate
    falls to zero along a cosine.

    Args:
        trial: data, seed, and the recipe of the fine-tuning.
        compress: makes the compressed model; may change its argument.
        network: a network of `NETWORKS`.
        networks_dir: folder of the trained networks. Defaults to one in the folder of the results.
        finetune_limit: fine-tune with the first samples only.
    """
    dense = _trained(trial, network, networks_dir)
    before = trial.shared(f"{network} costs", lambda: _costs(dense, trial))
    digest = _digest(dense)
    start = time.perf_counter()
    model, records = compress(dense)
    seconds = time.perf_counter() - start
    costs = _costs(model, trial)
    facts = {
        "network_sha256": digest,
        "parameters_fraction": costs["parameters"] / before["parameters"],
        "macs_fraction": costs["macs"] / before["macs"],
        "sparsity": costs["sparsity"],
        "compression_seconds": seconds,
        "report": records,
    }
    samples = len(trial.split.x_train[:finetune_limit])
    steps = trial.recipe.epochs * -(-samples // trial.recipe.batch_size)
    optimizer: Any = trial.recipe.optimizer()
    # With a constant rate, an epoch leaves an accurate network worse than it was.
    optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(
        trial.recipe.learning_rate, max(steps, 1)
    )
    if costs["sparsity"]:
        optimizer = keras_sac.PruningOptimizer(optimizer, schedule=None)
    plan = Plan(model, facts=facts, fit=without_training, optimizer=optimizer)

    def finetune(_: list[np.ndarray]) -> dict[str, Any]:
        if not trial.recipe.epochs:
            return {}
        split = dataclasses.replace(
            trial.split,
            x_train=trial.split.x_train[:finetune_limit],
            y_train=trial.split.y_train[:finetune_limit],
        )
        batches: Any = ImageBatches(
            split, trial.recipe.batch_size, NETWORKS[network].largest_move, trial.seed
        )
        begin = time.perf_counter()
        model.fit(batches, epochs=trial.recipe.epochs, shuffle=False, verbose=_QUIET)
        seconds = time.perf_counter() - begin
        after = EpochEvaluation(plan, trial).evaluate()
        return {
            "finetuned_accuracy": after["test_accuracy"],
            "finetuned_val_accuracy": after["val_accuracy"],
            "finetuned_sparsity": _costs(model, trial)["sparsity"],
            "finetuning_seconds": seconds,
        }

    plan.finish = finetune
    return plan


def _trained(trial: Trial, network: str, folder: Path | None) -> keras.Model:
    if folder is None:
        if trial.folder is None:
            raise ValueError("`networks_dir` is required for a trial without a folder.")
        folder = trial.folder / "networks"
    return trained_network(network, trial.split, folder)


def _costs(model: keras.Model, trial: Trial) -> dict[str, Any]:
    total = keras_sac.footprint(model, trial.split.x_test, compression=False).attrs["total"]
    zeros = keras_sac.sparsity(model).attrs["total"]["sparsity"]
    return {"parameters": total["parameters"], "macs": total["macs"], "sparsity": zeros}


def _digest(model: keras.Model) -> str:
    """Return a hash of the weights. Runs that differ in it are of different networks."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()[:16]


def _records(table: Any) -> list[dict[str, Any]]:
    """Return a report as JSON values."""
    return json.loads(table.to_json(orient="records"))
