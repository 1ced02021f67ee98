"""Compare ways to make a small convolutional network sparse: weights, activations, outputs.

conv 32, pool, dense 64, dense 10 is trained with Adam as it is, with L1, with proximal L1, pruned,
with a sparsemax head, and with its hidden layer in a subspace. Each row says what it costs in
accuracy, bytes and time. See `experiments/README.md`.

    KERAS_BACKEND=tensorflow python experiments/mnist_sparse_methods.py
    KERAS_BACKEND=jax python experiments/mnist_sparse_methods.py --dataset digits
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any, Literal

# torch's waiting CPU threads spin by default, which makes small networks many times slower where
# another process holds a core. Has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from harness import datasets
from harness.command import run_command
from harness.cost_plots import draw
from harness.errors import ExperimentError
from harness.options import Defaults, Options
from harness.plans import Recipe, Row
from harness.pruned import END, INITIAL_SPARSITY
from harness.session import Experiment, report, run_missing, selected
from harness.sparse_methods import (
    HIDDEN_UNITS,
    NEAR_ZERO,
    build_combined,
    build_dense,
    build_l1,
    build_polynomial,
    build_proximal,
    build_sac,
    build_sparsemax,
)
from harness.tables import View

NAME = "mnist_sparse_methods"
BASELINE = "dense"
SPARSITY = 0.8
VIEW = View(
    shares={
        "sparsity": "zeros %",
        "near_zero": f"below {NEAR_ZERO:g} %",
        "activation_sparsity": "zero activations %",
        "output_sparsity": "zero outputs %",
    },
    counts={
        "nonzero_weights": "non-zeros",
        "file_bytes": "file, bytes",
        "gzip_bytes": "gzip, bytes",
    },
    gap=True,
    hidden=("rank", "trained vs dense", "MACs", "s/epoch", "first epoch s"),
)


@dataclasses.dataclass(frozen=True)
class SparseOptions(Options):
    """Options of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """Data set; digits needs neither network nor files."""
    l1: tuple[float, ...] | None = None
    """Strengths of the L1 penalty in the loss; default: the data set's own."""
    proximal: tuple[float, ...] | None = None
    """Strengths of proximal L1: learning rate times strength is taken off each |w| in a step."""
    proximal_filters: tuple[float, ...] | None = None
    """Strengths of proximal L1 on whole filters."""
    ranks: tuple[int, ...] | None = None
    """Ranks of the subspace rows; the last one is that of the combined row."""
    frequency: int | None = None
    """Steps between two refreshes of the masks; default: the data set's own (mnist: 100)."""

    def check(self) -> None:
        """Refuse values that make no sense."""
        super().check()
        for name in ("l1", "proximal", "proximal_filters"):
            values = getattr(self, name)
            if values is not None and not _are_strengths(values):
                raise ExperimentError(
                    f"--{name.replace('_', '-')} is {' '.join(map(str, values)) or 'empty'}: "
                    "expected different positive numbers."
                )
        if self.ranks is not None and not (_are_strengths(self.ranks) and min(self.ranks) >= 1):
            raise ExperimentError(
                f"--ranks is {' '.join(map(str, self.ranks)) or 'empty'}: expected different "
                "integers of at least 1."
            )
        if self.frequency is not None and self.frequency < 1:
            raise ExperimentError(f"--frequency is {self.frequency}: expected at least 1.")


def _are_strengths(values: Sequence[float]) -> bool:
    finite = all(0 < value < float("inf") for value in values)
    return finite and 0 < len(set(values)) == len(values)


@dataclasses.dataclass(frozen=True)
class Setup(Defaults):
    """What this experiment does on one data set.

    Args:
        padding: Of the convolution.
        frequency: Steps between two refreshes of the masks.
        l1: Strengths of the penalty in the loss.
        proximal: Strengths of proximal L1.
        proximal_filters: Strengths of proximal L1 on whole filters.
        ranks: Of the subspace rows; the last one is that of the combined row.
    """

    padding: str = "valid"
    frequency: int = 100
    l1: tuple[float, ...] = (0.01, 0.001, 0.0001, 0.00001)
    proximal: tuple[float, ...] = (0.12, 0.2, 0.3)
    proximal_filters: tuple[float, ...] = (0.05,)
    ranks: tuple[int, ...] = (64, 32)


SETUPS = {
    "mnist": Setup(Recipe(epochs=5, batch_size=64, learning_rate=1e-3, algorithm="adam")),
    "digits": Setup(
        Recipe(epochs=12, batch_size=64, learning_rate=1e-3, algorithm="adam"),
        verbose=0,
        padding="same",
        frequency=5,
        proximal=(0.5, 0.7, 0.9),
        proximal_filters=(0.5,),
        ranks=(32, 16),
    ),
}


def make_rows(setup: Setup, options: SparseOptions) -> list[Row]:
    """Return all rows of the table for one data set."""
    padding = setup.padding
    frequency = options.frequency or setup.frequency
    ranks = options.ranks or setup.ranks
    pruning = {"frequency": frequency, "initial_sparsity": INITIAL_SPARSITY, "end": END}

    def row(name: str, method: str, build: Any, *arguments: Any, note: str = "", **settings: Any):
        # What `build` takes beyond the settings of the row is the same for all rows.
        return Row(
            name,
            method,
            {"method": method, "padding": padding, "hidden_units": HIDDEN_UNITS, **settings},
            lambda trial: build(trial, padding, *arguments),
            note,
        )

    def l1(strength: float):
        return row(f"l1-{_plain(strength)}", "l1", build_l1, strength, strength=strength)

    def proximal(strength: float, group: str | None = None):
        method = f"proximal-{group}" if group else "proximal"
        return row(
            f"{method}-{_plain(strength)}",
            method,
            build_proximal,
            *(strength, group),
            strength=strength,
            group=group,
        )

    def sac(kind: str, rank: int, note: str):
        return row(
            f"sac-{kind}-{rank}",
            f"sac-{kind}",
            build_sac,
            *(kind, rank),
            basis=kind,
            rank=rank,
            note=f"{note} Rank {rank} for {HIDDEN_UNITS} units: the basis, which is stored and not "
            f"trained, has {rank / HIDDEN_UNITS:.3g} times the numbers of the kernel it replaces.",
        )

    pca = (
        "PCA of the features of the untrained convolution on the training part. The convolution "
        "is trained all the same, so its features move away from the basis."
    )
    return [
        row(BASELINE, BASELINE, build_dense),
        *map(l1, options.l1 or setup.l1),
        *map(proximal, options.proximal or setup.proximal),
        *(proximal(s, "filters") for s in options.proximal_filters or setup.proximal_filters),
        row(
            f"polynomial-{100 * SPARSITY:.0f}",
            "polynomial",
            build_polynomial,
            *(SPARSITY, frequency),
            sparsity=SPARSITY,
            **pruning,
        ),
        row(
            "sparsemax",
            "sparsemax",
            build_sparsemax,
            note="the logits are trained with the sparsemax loss, and measured with that head.",
        ),
        *(sac("pca", rank, pca) for rank in ranks),
        sac("random", ranks[-1], "random orthonormal columns."),
        row(
            "combined",
            "combined",
            build_combined,
            *(ranks[-1], SPARSITY, frequency),
            basis="pca",
            rank=ranks[-1],
            sparsity=SPARSITY,
            **pruning,
            note=f"sac-pca-{ranks[-1]} with a sparsemax head and {SPARSITY:.0%} of the trained "
            "kernels pruned, the learner's included; the basis stays dense.",
        ),
    ]


def _plain(strength: float) -> str:
    """`1e-05` -> `"0.00001"`: fit for the name of a row."""
    return np.format_float_positional(strength, trim="-")


def compare(options: SparseOptions) -> None:
    """Run the experiment that the options ask for, and report it."""
    options.check()
    setup = SETUPS[options.dataset]
    rows = make_rows(setup, options)
    selected(rows, options.runs)
    dataset = datasets.load(options.dataset, options.data_dir).limited(options.limit)
    options.check_rank(len(dataset.x_train), max(options.ranks or setup.ranks))
    experiment = Experiment(
        NAME,
        options,
        dataset,
        options.recipe(setup.recipe),
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
    return run_command(NAME, SparseOptions, compare, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
