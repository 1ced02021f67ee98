"""Train a network with or without a pruning schedule, and measure its zeros."""

from typing import Any

import keras

from harness import ExperimentError
from harness.rows import Plan, Recipe, Trial, cross_entropy
from harness.shuffled_batches import ShuffledBatches
from keras_sac import pruning

INITIAL_SPARSITY = 0.5
# Pruning ends at this fraction of the training, so that the rest has the final sparsity.
END = 0.8


def shuffled_plan(
    trial: Trial, model: keras.Model, recipe: Recipe | None = None, **options: Any
) -> Plan:
    """Plan a training with the same order of samples on every backend and for tfmot.

    `recipe` replaces the recipe of the trial; `options` are other arguments of `Plan`.
    """
    split, chosen = trial.split, recipe or trial.recipe
    return Plan(
        model,
        x_train=ShuffledBatches(split.x_train, split.y_train, chosen.batch_size, trial.seed),
        recipe=recipe,
        measures={"sparsity": lambda: pruning.sparsity(model).attrs["total"]["sparsity"]},
        **options,
    )


def sparsity_facts(model: keras.Model) -> dict[str, Any]:
    """Return the fraction of zeros in all kernels and in each one, and of filters that are zero."""
    table = pruning.sparsity(model)
    total = table.attrs["total"]
    filters = pruning.filter_sparsity(model)
    filters = filters[filters["shape"].map(len) > 2]
    fractions = zip(table["path"], table["sparsity"], strict=True)
    return {
        "sparsity": total["sparsity"],
        "nonzero": total["weights"] - total["zeros"],
        "layers": {path: float(fraction) for path, fraction in fractions},
        "filter_sparsity": float(filters["zero_filters"].sum() / filters["filters"].sum()),
    }


def polynomial_schedule(
    steps: int,
    sparsity: float,
    *,
    frequency: int,
    initial_sparsity: float,
    end: float,
    begin: int = 0,
) -> pruning.PolynomialDecay:
    """Return a schedule that begins and ends at multiples of the frequency.

    With such an end, `tensorflow_model_optimization` reaches the final sparsity too.

    Args:
        steps: of the whole training.
        sparsity: at the end.
        frequency: steps between two updates of the masks.
        initial_sparsity: at the begin.
        end: fraction of the training at which pruning ends.
        begin: step of the first update of the masks, rounded down to a multiple.

    Raises:
        ExperimentError: the training ends before the schedule.
    """
    first = begin // frequency * frequency
    last = max(int(end * steps) // frequency * frequency, first + frequency)
    if last > steps:
        raise ExperimentError(
            f"--frequency must be smaller: pruning would end at step {last} of a training of "
            f"{steps} steps. Received: --frequency {frequency}. Lower it, raise --epochs, "
            "or choose other rows with --runs."
        )
    return pruning.PolynomialDecay(initial_sparsity, sparsity, first, last, frequency=frequency)


def pruning_plan(
    trial: Trial,
    model: keras.Model,
    sparsity: float,
    *,
    criterion: Any = "magnitude",
    scope: str = "uniform",
    recipe: Recipe | None = None,
    loss: keras.losses.Loss | None = None,
    **schedule: Any,
) -> Plan:
    """Plan a training that prunes a model by a `polynomial_schedule`.

    `criterion` ranks the weights. `scope` is the distribution of the sparsity over the kernels; the
    committed runs record it under this name. `recipe` replaces the recipe of the trial.
    """
    chosen = recipe or trial.recipe
    decay = polynomial_schedule(chosen.epochs * chosen.steps(trial.split), sparsity, **schedule)
    logger = pruning.SparsityLogger(max(decay.frequency // 2, 1))
    return shuffled_plan(
        trial,
        model,
        recipe,
        optimizer=pruning.PruningOptimizer(
            chosen.optimizer(), decay, criterion=criterion, distribution=scope
        ),
        loss=loss or cross_entropy(),
        callbacks=[logger],
        facts={"schedule": decay.get_config()},
        finish=lambda _: {**sparsity_facts(model), "trace": _trace(logger)},
    )


def _trace(logger: pruning.SparsityLogger) -> dict[str, list]:
    """Return the sparsity of all kernels over the steps."""
    history = logger.history
    whole = history.assign(zeros=history["sparsity"] * history["weights"]).groupby("step").sum()
    fractions = whole["zeros"] / whole["weights"]
    return {"step": [int(step) for step in whole.index], "sparsity": fractions.round(6).tolist()}
