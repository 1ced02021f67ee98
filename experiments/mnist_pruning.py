"""Compare ways to prune a small convolutional network with the dense network.

conv 32, pool, conv 64, pool, dense 128, dense 10 is trained with Adam and pruned: one-shot by a
threshold, during training, or after it by different criteria. See `experiments/README.md`.

    KERAS_BACKEND=tensorflow python experiments/mnist_pruning.py
    KERAS_BACKEND=jax python experiments/mnist_pruning.py --dataset digits
"""

import dataclasses
import math
import os
import sys
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Literal

# Waiting CPU threads of torch spin by default. This slows down small networks many times if another
# process uses a core. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness import pruning_methods, pruning_plots, rows, tfmot_row
from harness.command_line import main
from harness.experiment import Experiment
from harness.options import POSITIVE, Check, Options, Setup, at_least
from harness.pruning_network import build_dense
from harness.sparse_training import END, INITIAL_SPARSITY
from harness.tables import View

CRITERIA = ("magnitude", "gradient", "obd", "obs", "random")
VIEW = View(
    fractions={
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
PLOTS = {
    "accuracy_against_sparsity.png": pruning_plots.accuracy_against_sparsity,
    "schedules.png": pruning_plots.schedules,
    "one_shot.png": pruning_plots.one_shot,
    "criteria.png": pruning_plots.criteria,
    "learning_curves.png": pruning_plots.learning_curves,
}
_THRESHOLD = Check("a number of at least 0", lambda value: 0 <= value < math.inf)
_THRESHOLDS = Check("numbers of at least 0", lambda values: all(map(_THRESHOLD.valid, values)))


@dataclasses.dataclass(frozen=True)
class PruningOptions(Options):
    """Options of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """Data set; digits needs neither network nor files."""
    threshold: Annotated[float, _THRESHOLD] = 0.05
    """One-shot pruning removes weights with a smaller magnitude."""
    filter_thresholds: Annotated[tuple[float, float] | None, _THRESHOLDS] = None
    """One-shot pruning removes filters with a smaller sum of |w|; one value per convolution."""
    finetune_epochs: Annotated[int, at_least(1)] = 3
    """Epochs of fine-tuning after one-shot pruning."""
    finetune_learning_rate: Annotated[float, POSITIVE] = 1e-4
    """Of Adam, for all rows that start from the trained network."""
    frequency: Annotated[int | None, at_least(1)] = None
    """Steps between two updates of the masks; default: depends on the data set (mnist: 100)."""


_ADAM = rows.Recipe(epochs=5, batch_size=64, learning_rate=1e-3, algorithm="adam")
_MNIST = {"padding": "valid", "frequency": 100, "filter_thresholds": (0.9, 17.5)}
# An image of 8x8 is too small for "valid".
_DIGITS = {"padding": "same", "frequency": 5, "filter_thresholds": (0.6, 12.0)}
SETUPS = {
    "mnist": Setup(_ADAM, {**_MNIST, "criterion_epochs": 2}),
    "digits": Setup(
        dataclasses.replace(_ADAM, epochs=12), {**_DIGITS, "criterion_epochs": 4}, verbose=0
    ),
}


def make_rows(settings: SimpleNamespace) -> list[rows.Row]:
    """Return all rows of the table."""
    row = partial(rows.Row, padding=settings.padding)
    masks = {"frequency": settings.frequency, "initial_sparsity": INITIAL_SPARSITY}
    tuning = dataclasses.replace(
        settings.recipe,
        epochs=settings.finetune_epochs,
        learning_rate=settings.finetune_learning_rate,
    )
    rate, first, second = tuning.learning_rate, *settings.filter_thresholds
    then = f"then {tuning.epochs} epochs at {rate:g}."
    threshold = settings.threshold

    def gradual(sparsity: float, variant: str = "", begin_epoch: int = 0, **options) -> rows.Row:
        return row(
            f"polynomial-{100 * sparsity:.0f}{variant}",
            pruning_methods.build_gradual,
            check=pruning_methods.check_gradual,
            method=f"polynomial{variant}",
            sparsity=sparsity,
            **masks,
            begin_epoch=begin_epoch,
            end=END,
            **options,
        )

    def criterion(name: str, sparsity: float) -> rows.Row:
        return row(
            f"{name}-{100 * sparsity:.0f}",
            pruning_methods.build_criterion,
            check=pruning_methods.check_criterion,
            method=name,
            criterion=name,
            block_size=pruning_methods.OBS_BLOCK if name == "obs" else None,
            sparsity=sparsity,
            **masks,
            end=pruning_methods.END_FROM_DENSE,
            tuning=dataclasses.replace(tuning, epochs=settings.criterion_epochs),
        )

    def tfmot(sparsity: float) -> rows.Row:
        return row(
            f"tfmot-{100 * sparsity:.0f}",
            tfmot_row.build_tfmot,
            check=tfmot_row.check_tfmot,
            method="tfmot",
            sparsity=sparsity,
            **masks,
            end=END,
            note="by tensorflow_model_optimization on tf_keras, from the same initial weights, "
            "with the same batches and schedule as the polynomial row.",
            skip_reason=tfmot_row.skip_reason(),
        )

    return [
        row("dense", build_dense),
        row(
            "dense-tuned",
            pruning_methods.build_one_shot,
            tuning=tuning,
            note=f"nothing pruned, {tuning.epochs} epochs more at {rate:g}: what "
            "fine-tuning does by itself.",
        ),
        row(
            f"threshold-{threshold:g}",
            pruning_methods.build_one_shot,
            method="threshold",
            threshold=threshold,
            tuning=tuning,
            note=f"|w| < {threshold:g} pruned at once in all kernels, {then}",
        ),
        row(
            "filters",
            pruning_methods.build_one_shot,
            filter_thresholds={"conv_1": first, "conv_2": second},
            tuning=tuning,
            note="filters (all weights into an output channel) whose sum of |w| is below "
            f"{first:g} in the first and {second:g} in the second convolution pruned at "
            f"once, {then}",
        ),
        *(gradual(sparsity) for sparsity in (0.8, 0.9, 0.95, 0.98, 0.99)),
        gradual(
            0.95,
            "-delayed",
            begin_epoch=1,
            note="as polynomial-95, but pruning begins after one epoch.",
        ),
        gradual(
            0.95,
            "-global",
            scope="global",
            note="as polynomial-95, but all kernels are ranked together.",
        ),
        *(criterion(name, sparsity) for sparsity in (0.9, 0.98) for name in CRITERIA),
        *(tfmot(sparsity) for sparsity in (0.8, 0.95)),
    ]


EXPERIMENT = Experiment(
    "mnist_pruning", __doc__, make_rows, SETUPS, options=PruningOptions, plots=PLOTS, view=VIEW
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
