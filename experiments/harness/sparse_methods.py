"""What the rows of the comparison of sparse methods train: one small network, made sparse."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from harness.costs import costs, near_zero
from harness.networks import plan, zeros
from harness.plans import Plan, Trial
from harness.pruned import schedule, scheduled, steps_of
from keras_sac import ProximalL1, SACDense, SparsemaxLoss, add_kernel_l1, bases, swap_head

HIDDEN_UNITS = 64
# Plain L1 brings weights near zero, never to it.
NEAR_ZERO = 1e-3
_FEATURES_BATCH = 2000


def front(trial: Trial, padding: str) -> keras.Sequential:
    """Build what both the dense and the subspace layer follow; the seed of the trial has been set.

    `conv 32, pool, flatten`; kernels of 3x3, ReLU, pools of 2x2.
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
    trial: Trial, padding: str, basis: bases.Basis | None = None, made: Any = None
) -> keras.Model:
    """Build the network, which gives logits.

    Args:
        trial: Of the row.
        padding: Of the convolution.
        basis: Of a `SACDense` in place of the dense hidden layer.
        made: The front, where it exists already.
    """
    hidden: dict[str, Any] = {"activation": "relu", "name": "hidden"}
    return keras.Sequential(
        [
            keras.Input(trial.split.image_shape),
            *(made or front(trial, padding)).layers,
            keras.layers.Dense(HIDDEN_UNITS, **hidden)
            if basis is None
            else SACDense(HIDDEN_UNITS, basis, **hidden),
            keras.layers.Dense(trial.split.classes, name="head"),
        ]
    )


def build_dense(trial: Trial, padding: str) -> Plan:
    """Build the network as it is."""
    return _measured(trial, plan(trial, network(trial, padding)))


def build_l1(trial: Trial, padding: str, strength: float) -> Plan:
    """Add `strength * sum |w|` over all kernels to the loss."""
    model = network(trial, padding)
    add_kernel_l1(model, strength)
    return _measured(trial, plan(trial, model))


def build_proximal(trial: Trial, padding: str, strength: float, group: str | None = None) -> Plan:
    """Draw all kernels towards zero after each update, by a soft threshold of rate * strength."""
    own = plan(trial, network(trial, padding))
    own.optimizer = ProximalL1(trial.recipe.optimizer(), strength, group=group)
    return _measured(trial, own)


def build_polynomial(trial: Trial, padding: str, final: float, frequency: int) -> Plan:
    """Prune by magnitude while training from the initial weights."""
    wanted = schedule(final, steps_of(trial), frequency)
    return _measured(trial, scheduled(trial, network(trial, padding), wanted))


def build_sparsemax(trial: Trial, padding: str) -> Plan:
    """Train the logits for a sparsemax head, and measure the network with it."""
    own = plan(trial, network(trial, padding), loss=SparsemaxLoss())
    return _measured(trial, own, "sparsemax")


def build_sac(trial: Trial, padding: str, kind: str, rank: int) -> Plan:
    """Let the hidden layer work in a basis of the initial features."""
    model, facts = _subspace_network(trial, padding, kind, rank)
    return _measured(trial, plan(trial, model, facts=facts))


def build_combined(trial: Trial, padding: str, rank: int, final: float, frequency: int) -> Plan:
    """Do three things at once: PCA basis, sparsemax head, and pruning of all trained kernels."""
    model, facts = _subspace_network(trial, padding, "pca", rank)
    wanted = schedule(final, steps_of(trial), frequency)
    own = scheduled(trial, model, wanted, loss=SparsemaxLoss())
    own.facts |= facts
    return _measured(trial, own, "sparsemax")


def _measured(trial: Trial, own: Plan, head: str = "softmax") -> Plan:
    """Let a plan's model be measured with a head and with the weights of its chosen epoch."""
    before = own.finish

    def finish(weights: list[np.ndarray]) -> dict[str, Any]:
        own.model.set_weights(weights)
        facts = zeros(own.model) if before is None else before(weights)
        own.measured = swap_head(own.model, head)
        share = near_zero(own.model, NEAR_ZERO)
        return {**facts, "near_zero": share, **costs(own.measured, trial.split)}

    own.finish = finish
    return own


def _subspace_network(
    trial: Trial, padding: str, kind: str, rank: int
) -> tuple[keras.Model, dict[str, Any]]:
    made = front(trial, padding)
    # The same for all rows of a seed: the convolution is the first to draw its weights.
    moments, moments_seconds = trial.timed("feature moments", lambda: _moments(made, trial))

    def make() -> bases.Basis:
        if kind == "pca":
            return bases.pca(moments, rank)
        # It needs no data, but its statistics set the scale of the learner as in the other rows.
        chosen = bases.random_orthogonal(made.output_shape[-1], rank, trial.seed)
        return bases.with_statistics(chosen, moments)

    basis, basis_seconds = trial.timed(f"{kind}-{rank}", make)
    explained = basis.explained_variance_ratio
    return network(trial, padding, basis, made), {
        "rank": basis.rank,
        "moments_seconds": moments_seconds,
        "basis_seconds": basis_seconds,
        "explained_variance": None if explained is None else float(explained.sum()),
    }


def _moments(made: keras.Sequential, trial: Trial) -> bases.Moments:
    samples = trial.split.x_train

    def features() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), _FEATURES_BATCH):
            yield made.predict_on_batch(samples[start : start + _FEATURES_BATCH])

    return bases.Moments.from_data(features(), verbose=0)
