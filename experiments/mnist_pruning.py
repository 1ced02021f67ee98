"""Compare ways to prune a small convolutional network with the network as it is.

conv 32, pool, conv 64, pool, dense 128, dense 10 is trained with Adam, and pruned: at once by a
threshold, while it is trained, or after it, by different criteria. See `experiments/README.md`.

    KERAS_BACKEND=tensorflow python experiments/mnist_pruning.py
    KERAS_BACKEND=jax python experiments/mnist_pruning.py --dataset digits
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

# torch's waiting CPU threads spin by default, which makes small networks many times slower where
# another process holds a core. Has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness import datasets, tfmot_rows
from harness.command import run_command
from harness.errors import ExperimentError
from harness.networks import build_dense
from harness.options import Defaults, Options
from harness.plans import Recipe, Row
from harness.pruned import (
    END,
    END_FROM_DENSE,
    INITIAL_SPARSITY,
    OBS_BLOCK,
    build_criterion,
    build_gradual,
    build_one_shot,
    prune_filters,
)
from harness.pruning_plots import draw
from harness.session import Experiment, report, run_missing, selected
from harness.tables import View
from keras_sac import pruning

NAME = "mnist_pruning"
BASELINE = "dense"
CRITERIA = ("magnitude", "gradient", "obd", "obs", "random")
VIEW = View(
    shares={
        "sparsity": "zeros %",
        "filter_sparsity": "zero filters %",
        "test_accuracy_before": "before %",
        "test_accuracy_pruned": "pruned %",
    },
    gap=True,
    hidden=(
        *("rank", "trained", "trained vs dense", "stored", "MACs", "first epoch s"),
        *("ms, batch 1", "ms, batch 256"),
    ),
)


@dataclasses.dataclass(frozen=True)
class PruningOptions(Options):
    """Options of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """Data set; digits needs neither network nor files."""
    threshold: float = 0.05
    """Weights below it in magnitude are pruned at once."""
    filter_thresholds: tuple[float, float] | None = None
    """Filters are pruned at once whose sum of |w| is below it, one for each convolution."""
    finetune_epochs: int = 3
    """Epochs of fine-tuning after pruning at once."""
    finetune_learning_rate: float = 1e-4
    """Of Adam, for all rows that start from the trained network."""
    frequency: int | None = None
    """Steps between two refreshes of the masks; default: the data set's own (mnist: 100)."""

    def check(self) -> None:
        """Refuse values that make no sense."""
        super().check()
        thresholds = (self.threshold, *(self.filter_thresholds or ()))
        if not all(0 <= value < float("inf") for value in thresholds):
            raise ExperimentError(
                f"--threshold and --filter-thresholds are {', '.join(map(str, thresholds))}: "
                "expected numbers of at least 0."
            )
        if not 0 < self.finetune_learning_rate < float("inf"):
            raise ExperimentError(
                f"--finetune-learning-rate is {self.finetune_learning_rate}: expected a positive "
                "number."
            )
        for name, value in (
            ("finetune-epochs", self.finetune_epochs),
            ("frequency", self.frequency),
        ):
            if value is not None and value < 1:
                raise ExperimentError(f"--{name} is {value}: expected at least 1.")


@dataclasses.dataclass(frozen=True)
class Setup(Defaults):
    """What this experiment does on one data set.

    Args:
        padding: Of the convolutions; an image of 8x8 is too small for `"valid"`.
        frequency: Steps between two refreshes of the masks.
        filter_thresholds: Of the sum of |w| over a filter, one for each convolution.
        criterion_epochs: Epochs in which a trained network is pruned by a criterion.
    """

    padding: str = "valid"
    frequency: int = 100
    filter_thresholds: tuple[float, float] = (0.9, 17.5)
    criterion_epochs: int = 2


SETUPS = {
    "mnist": Setup(Recipe(epochs=5, batch_size=64, learning_rate=1e-3, algorithm="adam")),
    "digits": Setup(
        Recipe(epochs=12, batch_size=64, learning_rate=1e-3, algorithm="adam"),
        verbose=0,
        padding="same",
        frequency=5,
        filter_thresholds=(0.6, 12.0),
        criterion_epochs=4,
    ),
}


def make_rows(setup: Setup, options: PruningOptions, recipe: Recipe) -> list[Row]:
    """Return all rows of the table for one data set."""
    padding = setup.padding
    frequency = options.frequency or setup.frequency
    filters = options.filter_thresholds or setup.filter_thresholds
    by_layer: dict[str, float] = dict(zip(("conv_1", "conv_2"), filters, strict=True))
    tuning = dataclasses.replace(
        recipe, epochs=options.finetune_epochs, learning_rate=options.finetune_learning_rate
    )
    network = {"padding": padding}

    def row(name: str, method: str, build: Any, *arguments: Any, note: str = "", **settings: Any):
        # What `build` takes beyond the settings of the row is the same for all rows.
        return Row(
            name,
            method,
            {"method": method, **network, **settings},
            lambda trial: build(trial, padding, *arguments),
            note,
        )

    def gradual(sparsity: float, variant: str = "", note: str = ""):
        ending = f"-{variant}" if variant else ""
        delayed = variant == "delayed"
        scope = variant if variant in ("global", "erk") else "layer"
        return row(
            f"polynomial-{100 * sparsity:.0f}{ending}",
            f"polynomial{ending}",
            partial(build_gradual, delayed=delayed, scope=scope),
            *(sparsity, frequency),
            sparsity=sparsity,
            frequency=frequency,
            initial_sparsity=INITIAL_SPARSITY,
            begin_epoch=int(delayed),
            end=END,
            **({} if scope == "layer" else {"scope": scope}),
            note=note,
        )

    def criterion(name: str, sparsity: float):
        own = dataclasses.replace(tuning, epochs=setup.criterion_epochs)
        return row(
            f"{name}-{100 * sparsity:.0f}",
            name,
            build_criterion,
            *(name, sparsity, frequency, own),
            criterion=name,
            block_size=OBS_BLOCK if name == "obs" else None,
            sparsity=sparsity,
            frequency=frequency,
            initial_sparsity=INITIAL_SPARSITY,
            end=END_FROM_DENSE,
            tuning=own.settings(),
        )

    def tfmot(sparsity: float):
        made = row(
            f"tfmot-{100 * sparsity:.0f}",
            "tfmot",
            tfmot_rows.build_tfmot,
            *(sparsity, frequency),
            sparsity=sparsity,
            frequency=frequency,
            initial_sparsity=INITIAL_SPARSITY,
            end=END,
            note="by tensorflow_model_optimization on tf_keras, from the same initial weights, "
            "with the same batches and schedule as the polynomial row.",
        )
        return dataclasses.replace(made, obstacle=tfmot_rows.obstacle())

    return [
        row(BASELINE, BASELINE, build_dense),
        row(
            "dense-tuned",
            "dense-tuned",
            build_one_shot,
            tuning,
            lambda model: None,
            tuning=tuning.settings(),
            note=f"nothing pruned, {tuning.epochs} epochs more at {tuning.learning_rate:g}: what "
            "fine-tuning does by itself.",
        ),
        row(
            f"threshold-{options.threshold:g}",
            "threshold",
            build_one_shot,
            tuning,
            partial(pruning.prune_by_threshold, threshold=options.threshold),
            threshold=options.threshold,
            tuning=tuning.settings(),
            note=f"|w| < {options.threshold:g} pruned at once in all kernels, then "
            f"{tuning.epochs} epochs at {tuning.learning_rate:g}.",
        ),
        row(
            "filters",
            "filters",
            build_one_shot,
            tuning,
            partial(prune_filters, thresholds=by_layer),
            filter_thresholds=by_layer,
            tuning=tuning.settings(),
            note="filters (all weights into an output channel) whose sum of |w| is below "
            f"{filters[0]:g} in the first and {filters[1]:g} in the second convolution pruned at "
            f"once, then {tuning.epochs} epochs at {tuning.learning_rate:g}.",
        ),
        *(gradual(sparsity) for sparsity in (0.8, 0.9, 0.95, 0.98, 0.99)),
        gradual(0.95, "delayed", "as polynomial-95, but pruning begins after one epoch."),
        gradual(0.95, "global", "as polynomial-95, but all kernels are ranked together."),
        *(criterion(name, sparsity) for sparsity in (0.9, 0.98) for name in CRITERIA),
        *(tfmot(sparsity) for sparsity in (0.8, 0.95)),
    ]


def compare(options: PruningOptions) -> None:
    """Run the experiment that the options ask for, and report it."""
    options.check()
    setup = SETUPS[options.dataset]
    recipe = options.recipe(setup.recipe)
    rows = make_rows(setup, options, recipe)
    selected(rows, options.runs)
    dataset = datasets.load(options.dataset, options.data_dir).limited(options.limit)
    experiment = Experiment(
        NAME,
        options,
        dataset,
        recipe,
        rows,
        BASELINE,
        setup.verbose if options.verbose is None else options.verbose,
        flat=False,
        view=VIEW,
        figures=draw,
    )
    store = experiment.store()
    run_missing(experiment, store)
    report(experiment, store)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    return run_command(NAME, PruningOptions, compare, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
