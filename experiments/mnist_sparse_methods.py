"""Compare ways to make a small convolutional network sparse: weights, activations, outputs.

conv 32, pool, dense 64, dense 10 is trained with Adam: dense, with L1, with proximal L1, pruned,
with a sparsemax head, and with a subspace layer. Each row reports its accuracy, bytes and time. See
`experiments/README.md`.

    KERAS_BACKEND=tensorflow python experiments/mnist_sparse_methods.py
    KERAS_BACKEND=jax python experiments/mnist_sparse_methods.py --dataset digits
"""

import dataclasses
import os
import sys
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Literal

# Waiting CPU threads of torch spin by default. This slows down small networks many times if another
# process uses a core. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from harness import rows, size_plots, sparse_methods
from harness.accuracy_plots import learning_curves
from harness.command_line import main
from harness.experiment import Experiment
from harness.options import POSITIVES, RANKS, Options, Setup, at_least
from harness.sparse_methods import HIDDEN_UNITS, NEAR_ZERO
from harness.sparse_training import END, INITIAL_SPARSITY
from harness.tables import View

SPARSITY = 0.8
VIEW = View(
    fractions={
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
PLOTS = {
    "accuracy_and_size.png": size_plots.accuracy_and_size,
    "accuracy_against_size.png": size_plots.accuracy_against_size,
    "learning_curves.png": learning_curves,
}
_PCA_NOTE = (
    "PCA of the features of the untrained convolution on the training part. The convolution "
    "is trained all the same, so its features move away from the basis."
)


@dataclasses.dataclass(frozen=True)
class SparseOptions(Options):
    """Options of this experiment."""

    dataset: Literal["mnist", "digits"] = "mnist"
    """Data set; digits needs neither network nor files."""
    l1: Annotated[tuple[float, ...] | None, POSITIVES] = None
    """Strengths of the L1 penalty in the loss; default: depends on the data set."""
    proximal: Annotated[tuple[float, ...] | None, POSITIVES] = None
    """Strengths of proximal L1: each step reduces |w| by learning rate times strength."""
    proximal_filters: Annotated[tuple[float, ...] | None, POSITIVES] = None
    """Strengths of proximal L1 on whole filters."""
    ranks: Annotated[tuple[int, ...] | None, RANKS] = None
    """Ranks of the SAC rows; the combined row uses the last one."""
    frequency: Annotated[int | None, at_least(1)] = None
    """Steps between two updates of the masks; default: depends on the data set (mnist: 100)."""


_ADAM = rows.Recipe(epochs=5, batch_size=64, learning_rate=1e-3, algorithm="adam")
_L1 = {"l1": (0.01, 0.001, 0.0001, 0.00001)}
_MNIST = {"proximal": (0.12, 0.2, 0.3), "proximal_filters": (0.05,), "ranks": (64, 32)}
_DIGITS = {"proximal": (0.5, 0.7, 0.9), "proximal_filters": (0.5,), "ranks": (32, 16)}
SETUPS = {
    "mnist": Setup(_ADAM, {"padding": "valid", "frequency": 100, **_L1, **_MNIST}),
    "digits": Setup(
        dataclasses.replace(_ADAM, epochs=12),
        {"padding": "same", "frequency": 5, **_L1, **_DIGITS},
        verbose=0,
    ),
}


def make_rows(settings: SimpleNamespace) -> list[rows.Row]:
    """Return all rows of the table."""
    row = partial(rows.Row, padding=settings.padding, hidden_units=HIDDEN_UNITS)
    schedule = {
        "sparsity": SPARSITY,
        "frequency": settings.frequency,
        "initial_sparsity": INITIAL_SPARSITY,
        "end": END,
    }
    last = settings.ranks[-1]

    def l1(strength: float) -> rows.Row:
        name = f"l1-{_plain(strength)}"
        return row(name, sparse_methods.build_l1, method="l1", strength=strength)

    def proximal(strength: float, method: str, group: str | None) -> rows.Row:
        name = f"{method}-{_plain(strength)}"
        build = sparse_methods.build_proximal
        return row(name, build, method=method, strength=strength, group=group)

    def sac(basis: str, rank: int, note: str) -> rows.Row:
        return row(
            f"sac-{basis}-{rank}",
            sparse_methods.build,
            check=sparse_methods.check,
            method=f"sac-{basis}",
            basis=basis,
            rank=rank,
            note=f"{note} Rank {rank} for {HIDDEN_UNITS} units: the basis, which is stored and not "
            f"trained, has {rank / HIDDEN_UNITS:.3g} times the numbers of the kernel it replaces.",
        )

    return [
        row("dense", sparse_methods.build),
        *(l1(strength) for strength in settings.l1),
        *(proximal(strength, "proximal", None) for strength in settings.proximal),
        *(proximal(each, "proximal-filters", "filters") for each in settings.proximal_filters),
        row(
            f"polynomial-{100 * SPARSITY:.0f}",
            sparse_methods.build,
            check=sparse_methods.check,
            method="polynomial",
            **schedule,
        ),
        row(
            "sparsemax",
            partial(sparse_methods.build, head="sparsemax"),
            note="the logits are trained with the sparsemax loss, and measured with that head.",
        ),
        *(sac("pca", rank, _PCA_NOTE) for rank in settings.ranks),
        sac("random", last, "random orthonormal columns."),
        row(
            "combined",
            partial(sparse_methods.build, head="sparsemax"),
            check=sparse_methods.check,
            basis="pca",
            rank=last,
            **schedule,
            note=f"sac-pca-{last} with a sparsemax head and {SPARSITY:.0%} of the trained "
            "kernels pruned, the learner's included; the basis stays dense.",
        ),
    ]


def _plain(strength: float) -> str:
    """Format a number for the name of a row: `1e-05` -> `"0.00001"`."""
    return np.format_float_positional(strength, trim="-")


EXPERIMENT = Experiment(
    "mnist_sparse_methods",
    __doc__,
    make_rows,
    SETUPS,
    options=SparseOptions,
    plots=PLOTS,
    view=VIEW,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
