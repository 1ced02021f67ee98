"""Compress trained networks without training: low rank, removal and zeros, by several methods.

Each network is trained once and kept on disk. Each row compresses it with one method to one level,
and reports the accuracy as it is and after fine-tuning. See `experiments/README.md`.

    KERAS_BACKEND=torch python experiments/compress_trained.py --dataset mnist
    KERAS_BACKEND=jax python experiments/compress_trained.py --dataset digits
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

# Waiting CPU threads of torch spin by default. This slows down small networks many times if another
# process uses a core. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Likewise the threads of NumPy's linear algebra: with a busy core, `eigh` of 784 columns took 6 s
# and not 0.3 s.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "1")

from harness import ExperimentError, compression_methods, compression_plots, rows
from harness.command_line import main
from harness.experiment import Experiment
from harness.options import Options, Setup, at_least
from harness.tables import View
from harness.trained_networks import SEED

# Fractions of the parameters and of the MACs, and of zeros.
LOW_RANK_LEVELS = (0.75, 0.5, 0.35, 0.25, 0.125)
BUDGETS: dict[str, Sequence[float]] = dict.fromkeys(("parameters", "macs"), LOW_RANK_LEVELS)
ZERO_LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95)
# Further levels: (network, budget).
MORE_LEVELS = {
    ("cifar-cnn", "parameters"): (0.15,),
    ("resnet-20", "parameters"): (0.7,),
    ("mnist-cnn", "parameters"): (0.1,),
    ("mnist-cnn", "zeros"): (0.97,),
}
# Networks with batch normalization, which magnitude pruning can estimate anew.
NORMALIZED = ("cifar-cnn", "resnet-20", "digits-cnn")
# Method -> what ranks the directions of a layer.
CRITERIA = {"pca": "input", "output": "output", "fisher": "fisher"}
VIEW = View(
    fractions={
        "parameters_fraction": "parameters %",
        "macs_fraction": "MACs %",
        "sparsity": "zeros %",
        "finetuned_accuracy": "fine-tuned acc. %",
    },
    seconds={
        "calibration_seconds": "calibration s",
        "compression_seconds": "compression s",
    },
    gap=True,
    group="network",
    hidden=(
        *("rank", "best test epoch %", "trained", "trained vs dense"),
        *("s/epoch", "first epoch s"),
    ),
)
PLOTS = {
    "accuracy_against_parameters.png": compression_plots.accuracy_against_parameters,
    "accuracy_against_macs.png": compression_plots.accuracy_against_macs,
    "accuracy_against_zeros.png": compression_plots.accuracy_against_zeros,
}


@dataclasses.dataclass(frozen=True)
class CompressionOptions(Options):
    """Options of this experiment."""

    epochs: Annotated[int | None, at_least(0)] = None
    """Epochs of fine-tuning after the compression, 0 for none; default: 1."""
    networks: tuple[str, ...] | None = None
    """Networks to compress; default: all of the data set."""
    networks_dir: Path | None = None
    """Folder where the trained networks are kept; default: in the folder of the results."""
    calibration_samples: Annotated[int | None, at_least(1)] = None
    """Training samples for the methods, other ones for each seed; default: 2000 (digits: 500)."""
    round_to: Annotated[int | None, at_least(1)] = None
    """Ranks of converted layers are multiples of this; default: 8 (mnist, digits: 1)."""
    finetune_limit: Annotated[int | None, at_least(1)] = None
    """Fine-tune with the first training samples only."""


# On MNIST, of Adam with 1e-4, 3e-4 and 1e-3 and SGD with 0.003, 0.01 and 0.03: the highest
# validation accuracies of pruned and of factored networks.
_FINETUNING = rows.Recipe(epochs=1, batch_size=64, learning_rate=0.01)
_COMMON: dict[str, Any] = {
    "networks_dir": None,
    "finetune_limit": None,
    "calibration_samples": 2000,
    # Of layers with few filters, multiples of 8 are no choice.
    "round_to": 1,
}
SETUPS = {
    "cifar10": Setup(
        _FINETUNING, {**_COMMON, "networks": ("cifar-cnn", "resnet-20"), "round_to": 8}
    ),
    "mnist": Setup(_FINETUNING, {**_COMMON, "networks": ("lenet-300-100", "lenet-5", "mnist-cnn")}),
    "digits": Setup(
        _FINETUNING,
        {**_COMMON, "networks": ("digits-cnn",), "calibration_samples": 500},
        verbose=0,
    ),
}


def make_rows(settings: SimpleNamespace) -> list[rows.Row]:
    """Return all rows of the table."""
    known = SETUPS[settings.dataset].values["networks"]
    unknown = [name for name in settings.networks if name not in known]
    if unknown or not settings.networks:
        raise ExperimentError(
            f"--networks must be among {', '.join(known)} with --dataset {settings.dataset}. "
            f"Received: {', '.join(unknown) or 'nothing'}."
        )
    return [row for network in settings.networks for row in _rows_of(network, settings)]


def _rows_of(network: str, settings: SimpleNamespace) -> list[rows.Row]:
    samples = {"calibration_samples": settings.calibration_samples}

    def row(name: str, build: Any, method: str, **arguments: Any) -> rows.Row:
        return rows.Row(
            f"{network}.{name}",
            # A path is no setting of the row: it would be written into the results.
            partial(build, networks_dir=settings.networks_dir),
            method=method,
            check=compression_methods.check,
            network=network,
            finetune_limit=settings.finetune_limit,
            **arguments,
        )

    def smaller(
        build: Any,
        method: str,
        budgets: dict[str, Sequence[float]] = BUDGETS,
        **arguments: Any,
    ) -> list[rows.Row]:
        return [
            row(
                f"{method}-{budget}-{100 * level:g}",
                build,
                method,
                budget=budget,
                level=level,
                **samples,
                **arguments,
            )
            for budget, levels in budgets.items()
            for level in _levels(network, budget, levels)
        ]

    def zeros(build: Any, method: str, **arguments: Any) -> list[rows.Row]:
        levels = _levels(network, "zeros", ZERO_LEVELS)
        return [
            row(
                f"{method}-{100 * level:g}",
                build,
                method,
                budget="zeros",
                level=level,
                **arguments,
            )
            for level in levels
        ]

    def two_of_four(build: Any, method: str, **arguments: Any) -> rows.Row:
        name = f"{method}-2of4"
        return row(name, build, name, budget="zeros", level=0.5, pattern="2:4", **arguments)

    svd, convert = compression_methods.build_svd, compression_methods.build_low_rank
    magnitude, prune = compression_methods.build_magnitude, compression_methods.build_zeros
    remove = partial(
        smaller,
        compression_methods.build_removal,
        budgets=BUDGETS | ({"widths": (0.25,)} if network == "lenet-5" else {}),
    )
    return [
        row("dense", compression_methods.build_dense, "dense"),
        *(each for way in ("uniform", "global") for each in smaller(svd, f"svd-{way}", ranks=way)),
        *(
            each
            for method, criterion in CRITERIA.items()
            for each in smaller(convert, method, criterion=criterion, round_to=settings.round_to)
        ),
        *remove("removal", selection="reconstruction", compensate=True),
        *remove("removal-l1", selection="l1", compensate=False),
        *zeros(magnitude, "magnitude"),
        *(zeros(magnitude, "magnitude-bn", **samples) if network in NORMALIZED else ()),
        *zeros(prune, "wanda", criterion="wanda", **samples),
        *zeros(prune, "obs", criterion="obs", **samples),
        *zeros(prune, "ours", **samples),
        two_of_four(magnitude, "magnitude"),
        two_of_four(prune, "ours", **samples),
    ]


def _levels(network: str, budget: str, levels: Sequence[float]) -> list[float]:
    """Return the levels from the mildest to the strongest: zeros go up, what is kept goes down."""
    more = MORE_LEVELS.get((network, budget), ())
    return sorted({*levels, *more}, reverse=budget != "zeros")


EXPERIMENT = Experiment(
    "compress_trained",
    __doc__,
    make_rows,
    SETUPS,
    options=CompressionOptions,
    plots=PLOTS,
    view=VIEW,
    split_seed=SEED,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
