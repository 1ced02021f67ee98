"""The methods of the pruning comparison: gradual and one-shot pruning, by different criteria."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from harness.pruning_network import network, trained_network
from harness.rows import Plan, Recipe, Trial
from harness.sparse_training import (
    polynomial_schedule,
    pruning_plan,
    shuffled_plan,
    sparsity_facts,
)
from harness.training import EpochEvaluation
from keras_sac import pruning

# As `sparse_training.END`, but earlier, because a trained network is pruned in few epochs.
END_FROM_DENSE = 0.6
OBS_BLOCK = 32


def build_gradual(trial: Trial, padding: str, *, begin_epoch: int = 0, **options: Any) -> Plan:
    """Prune by magnitude while training from the initial weights, from `begin_epoch` on.

    `options` are other arguments of `pruning_plan`.
    """
    begin = begin_epoch * trial.recipe.steps(trial.split)
    return pruning_plan(trial, network(trial, padding), begin=begin, **options)


def check_gradual(
    trial: Trial, padding: str, *, begin_epoch: int = 0, scope: str = "uniform", **schedule: Any
) -> None:
    """Raise an `ExperimentError` if `build_gradual` would not end within the training."""
    steps = trial.recipe.steps(trial.split)
    polynomial_schedule(trial.recipe.epochs * steps, begin=begin_epoch * steps, **schedule)


def build_criterion(
    trial: Trial,
    padding: str,
    *,
    criterion: str,
    block_size: int | None,
    frequency: int,
    tuning: Recipe,
    **schedule: Any,
) -> Plan:
    """Prune the trained dense network by a criterion while fine-tuning it.

    The schedule begins after `frequency` steps, because some criteria need gradients.
    """
    model = trained_network(trial, padding)
    rules: dict[str, Any] = {"random": pruning.Random(trial.seed)}
    if block_size is not None:
        rules["obs"] = pruning.OBS(block_size=block_size)
    schedule |= {"frequency": frequency, "begin": frequency}
    rule = rules.get(criterion, criterion)
    return pruning_plan(trial, model, criterion=rule, recipe=tuning, **schedule)


def check_criterion(
    trial: Trial,
    padding: str,
    *,
    criterion: str,
    block_size: int | None,
    frequency: int,
    tuning: Recipe,
    **schedule: Any,
) -> None:
    """Raise an `ExperimentError` if `build_criterion` would not end within the fine-tuning."""
    steps = tuning.epochs * tuning.steps(trial.split)
    polynomial_schedule(steps, frequency=frequency, begin=frequency, **schedule)


def build_one_shot(
    trial: Trial,
    padding: str,
    *,
    tuning: Recipe,
    threshold: float | None = None,
    filter_thresholds: Mapping[str, float] | None = None,
) -> Plan:
    """Prune the trained dense network, then fine-tune the other weights.

    Args:
        trial: data, seed and recipe.
        padding: of the convolutions.
        tuning: recipe of the fine-tuning.
        threshold: weights of all kernels with a smaller magnitude are pruned.
        filter_thresholds: name of a layer -> filters with a smaller sum of |w| are pruned.
    """
    model = trained_network(trial, padding)
    plan = shuffled_plan(trial, model, tuning, finish=lambda _: sparsity_facts(model))
    plan.optimizer = pruning.PruningOptimizer(tuning.optimizer(), schedule=None)
    evaluation = EpochEvaluation(plan, trial)
    before = evaluation.evaluate()
    plan.facts["filter_norms"] = filter_norms(model)
    if threshold is not None:
        pruning.prune_by_threshold(model, threshold)
    for name, least in (filter_thresholds or {}).items():
        pruning.prune_filters_by_norm(model, least, targets=model.get_layer(name))
    after = evaluation.evaluate()
    for name, values in (("before", before), ("pruned", after)):
        plan.facts |= {f"{part}_{name}": values[part] for part in ("val_accuracy", "test_accuracy")}
    plan.facts["sparsity_pruned"] = sparsity_facts(model)["sparsity"]
    return plan


def filter_norms(model: keras.Model) -> dict[str, list[float]]:
    """Return minimum, quartiles and maximum of the L1 norms of the filters of each convolution."""
    quartiles = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            norms = np.abs(kernel).sum(axis=(0, 1, 2))
            quartiles[layer.name] = np.percentile(norms, [0, 25, 50, 75, 100]).round(4).tolist()
    return quartiles
