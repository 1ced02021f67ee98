"""What the rows of the pruning comparison train: the network, pruned in one way or another."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from harness.networks import dense_weights, network, plan, zeros
from harness.plans import Plan, Recipe, Trial
from harness.training import EpochEvaluation
from keras_sac import pruning

INITIAL_SPARSITY = 0.5
# Pruning ends here in the training, so that the last part is trained at the final sparsity.
END = 0.8
# Sooner where a trained network is pruned in few epochs.
END_FROM_DENSE = 0.6
OBS_BLOCK = 32


def schedule(
    final: float, steps: int, frequency: int, *, begin: int = 0, end: float = END
) -> pruning.PolynomialDecay:
    """Return a schedule whose begin and end are multiples of the frequency.

    At such an end `tensorflow_model_optimization` too reaches the final sparsity.

    Args:
        final: Sparsity at the end.
        steps: Of the whole training.
        frequency: Steps between two refreshes of the masks.
        begin: First step at which masks are refreshed, rounded down.
        end: Share of the training after which pruning ends.
    """
    first = begin // frequency * frequency
    last = max(int(end * steps) // frequency * frequency, first + frequency)
    return pruning.PolynomialDecay(INITIAL_SPARSITY, final, first, last, frequency=frequency)


def steps_of(trial: Trial, recipe: Recipe | None = None) -> int:
    """Return the number of updates of a whole training."""
    recipe = recipe or trial.recipe
    return recipe.epochs * recipe.steps(len(trial.split.x_train))


def build_gradual(
    trial: Trial,
    padding: str,
    final: float,
    frequency: int,
    *,
    delayed: bool = False,
    scope: str = "layer",
) -> Plan:
    """Prune by magnitude while training from the initial weights."""
    begin = trial.recipe.steps(len(trial.split.x_train)) if delayed else 0
    wanted = schedule(final, steps_of(trial), frequency, begin=begin)
    return scheduled(trial, network(trial, padding), wanted, "magnitude", scope=scope)


def build_criterion(
    trial: Trial, padding: str, criterion: str, final: float, frequency: int, recipe: Recipe
) -> Plan:
    """Prune the trained dense network by a criterion while fine-tuning it.

    The schedule begins after `frequency` steps: criteria of gradients need some to rank by.
    """
    model = _trained(trial, padding)
    steps = steps_of(trial, recipe)
    wanted = schedule(final, steps, frequency, begin=frequency, end=END_FROM_DENSE)
    rules = {
        "random": pruning.Random(trial.seed),
        "obs": pruning.OBS(block_size=OBS_BLOCK),
    }
    return scheduled(trial, model, wanted, rules.get(criterion, criterion), recipe)


def _trained(trial: Trial, padding: str) -> keras.Model:
    # First: they may have to be trained, which clears Keras' state.
    weights = dense_weights(trial, padding)
    model = network(trial, padding)
    model.set_weights(weights)
    return model


def scheduled(
    trial: Trial,
    model: keras.Model,
    wanted: pruning.PolynomialDecay,
    criterion: Any = "magnitude",
    recipe: Recipe | None = None,
    scope: str = "layer",
    **variant: Any,
) -> Plan:
    """Plan a training in which a model is pruned by a schedule.

    Args:
        trial: Of the row.
        model: Of the row.
        wanted: When, and to which sparsity.
        criterion: Which weights go first.
        recipe: Instead of the trial's.
        scope: Whether each kernel is pruned by itself (`"layer"`).
        variant: Other arguments of `Plan`.
    """
    inner = (recipe or trial.recipe).optimizer()
    logger = pruning.SparsityLogger(max(wanted.frequency // 2, 1))
    return plan(
        trial,
        model,
        recipe,
        optimizer=pruning.PruningOptimizer(inner, wanted, criterion=criterion, scope=scope),
        callbacks=[logger],
        facts={"schedule": wanted.get_config()},
        finish=lambda _: {**zeros(model), "trace": _trace(logger)},
        **variant,
    )


def _trace(logger: pruning.SparsityLogger) -> dict[str, list]:
    history = logger.history
    whole = history.assign(zeros=history["sparsity"] * history["weights"]).groupby("step").sum()
    shares = whole["zeros"] / whole["weights"]
    return {"step": [int(step) for step in whole.index], "sparsity": shares.round(6).tolist()}


def build_one_shot(
    trial: Trial, padding: str, recipe: Recipe, prune: Callable[[keras.Model], Any]
) -> Plan:
    """Prune the trained dense network at once, then fine-tune what is left."""
    model = _trained(trial, padding)
    own = plan(trial, model, recipe, finish=lambda _: zeros(model))
    own.optimizer = pruning.PruningOptimizer(recipe.optimizer(), schedule=None)
    evaluation = EpochEvaluation(own, trial)
    before = evaluation.evaluate()
    own.facts["filter_norms"] = filter_norms(model)
    prune(model)
    after = evaluation.evaluate()
    for name, values in (("before", before), ("pruned", after)):
        own.facts |= {f"{part}_{name}": values[part] for part in ("val_accuracy", "test_accuracy")}
    own.facts["sparsity_pruned"] = zeros(model)["sparsity"]
    return own


def prune_filters(model: keras.Model, thresholds: Mapping[str, float]) -> None:
    """Zero the filters of each layer whose sum of |w| is below the layer's threshold."""
    for name, threshold in thresholds.items():
        pruning.prune_filters_by_norm(model, threshold, targets=model.get_layer(name))


def filter_norms(model: keras.Model) -> dict[str, list[float]]:
    """Return the quartiles of the L1 norms of each convolution's filters, with both extremes."""
    quartiles = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = keras.ops.convert_to_numpy(layer.kernel)
            norms = np.abs(kernel).sum(axis=(0, 1, 2))
            quartiles[layer.name] = np.percentile(norms, [0, 25, 50, 75, 100]).round(4).tolist()
    return quartiles
