"""The methods of the sparse comparison: one small network, made sparse in different ways."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from harness import ExperimentError
from harness.model_costs import costs, near_zero
from harness.rows import Plan, Trial, cross_entropy
from harness.sac_methods import make_basis
from harness.sparse_training import (
    polynomial_schedule,
    pruning_plan,
    shuffled_plan,
    sparsity_facts,
)
from keras_sac import ProximalL1, SACDense, SparsemaxLoss, add_kernel_l1, bases, swap_head

HIDDEN_UNITS = 64
# Plain L1 makes weights small, but not zero.
NEAR_ZERO = 1e-3
_FEATURES_BATCH = 2000


def feature_network(trial: Trial, padding: str) -> keras.Sequential:
    """Build the layers before the hidden layer. The random seed must be set before.

    They are `conv 32, pool, flatten`, with kernels of 3x3, ReLU, and pools of 2x2.
    """
    return keras.Sequential(
        [
            keras.Input(trial.split.image_shape),
            keras.layers.Conv2D(32, 3, activation="relu", padding=padding, name="conv"),
            keras.layers.MaxPooling2D(name="pool"),
            keras.layers.Flatten(name="flatten"),
        ]
    )


def network(
    trial: Trial,
    padding: str,
    hidden_units: int,
    basis: bases.Basis | None = None,
    features: keras.Sequential | None = None,
) -> keras.Model:
    """Build the network, which returns logits.

    With a basis, the hidden layer is a `SACDense`. `features` are the layers before it, if they
    already exist.
    """
    hidden: dict[str, Any] = {"activation": "relu", "name": "hidden"}
    return keras.Sequential(
        [
            keras.Input(trial.split.image_shape),
            *(features or feature_network(trial, padding)).layers,
            keras.layers.Dense(hidden_units, **hidden)
            if basis is None
            else SACDense(hidden_units, basis, **hidden),
            keras.layers.Dense(trial.split.classes, name="head"),
        ]
    )


def build(
    trial: Trial,
    *,
    padding: str,
    hidden_units: int,
    basis: str | None = None,
    rank: int = 0,
    head: str = "softmax",
    sparsity: float | None = None,
    **schedule: Any,
) -> Plan:
    """Build a network and train it with or without pruning.

    Args:
        trial: data, seed and recipe.
        padding: of the convolution.
        hidden_units: of the hidden layer.
        basis: `"pca"` or `"random"`: the hidden layer works in a basis of the initial features.
        rank: of the basis.
        head: `"softmax"`, or `"sparsemax"` with its loss.
        sparsity: prune all trained kernels by magnitude up to this fraction of zeros.
        schedule: other arguments of `pruning_plan`.
    """
    facts, loss = {}, SparsemaxLoss() if head == "sparsemax" else cross_entropy()
    if basis is None:
        model = network(trial, padding, hidden_units)
    else:
        model, facts = _sac_network(trial, basis, rank, padding, hidden_units)
    if sparsity is None:
        return _measured(trial, shuffled_plan(trial, model, facts=facts, loss=loss), head)
    plan = pruning_plan(trial, model, sparsity, loss=loss, **schedule)
    plan.facts |= facts
    return _measured(trial, plan, head)


def check(
    trial: Trial,
    *,
    padding: str,
    hidden_units: int,
    rank: int = 0,
    sparsity: float | None = None,
    basis: str | None = None,
    **schedule: Any,
) -> None:
    """Raise an `ExperimentError` if `build` would fail: see the arguments there."""
    if basis is not None:
        # The random seed is set again before a row is built.
        features = feature_network(trial, padding).output_shape[-1]
        if rank > features:
            raise ExperimentError(
                f"--ranks must be at most {features}, the inputs of the hidden layer. Received: "
                f"{rank}."
            )
    if sparsity is not None:
        steps = trial.recipe.epochs * trial.recipe.steps(trial.split)
        polynomial_schedule(steps, sparsity, **schedule)


def build_l1(trial: Trial, *, strength: float, **layers: Any) -> Plan:
    """Add `strength * sum |w|` over all kernels to the loss."""
    model = network(trial, **layers)
    add_kernel_l1(model, strength)
    return _measured(trial, shuffled_plan(trial, model))


def build_proximal(trial: Trial, *, strength: float, group: str | None, **layers: Any) -> Plan:
    """Soft-threshold all kernels by `learning rate * strength` after each update."""
    plan = shuffled_plan(trial, network(trial, **layers))
    plan.optimizer = ProximalL1(trial.recipe.optimizer(), strength, group=group)
    return _measured(trial, plan)


def _measured(trial: Trial, plan: Plan, head: str = "softmax") -> Plan:
    """Measure the model of a plan with a head and the weights of its chosen epoch."""
    before = plan.finish

    def finish(weights: list[np.ndarray]) -> dict[str, Any]:
        plan.model.set_weights(weights)
        facts = sparsity_facts(plan.model) if before is None else before(weights)
        plan.measured = swap_head(plan.model, head)
        small = near_zero(plan.model, NEAR_ZERO)
        return {**facts, "near_zero": small, **costs(plan.measured, trial.split)}

    plan.finish = finish
    return plan


def _sac_network(
    trial: Trial, basis: str, rank: int, padding: str, hidden_units: int
) -> tuple[keras.Model, dict[str, Any]]:
    features = feature_network(trial, padding)
    # The features are the same in all rows of a seed, because the convolution is built first.
    made, facts = make_basis(trial, basis, rank, lambda: _moments(features, trial))
    return network(trial, padding, hidden_units, made, features), facts


def _moments(features: keras.Sequential, trial: Trial) -> bases.Moments:
    samples = trial.split.x_train

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), _FEATURES_BATCH):
            yield features.predict_on_batch(samples[start : start + _FEATURES_BATCH])

    return bases.Moments.from_data(batches(), verbose=0)
