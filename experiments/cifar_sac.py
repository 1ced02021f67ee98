"""Compare subspace layers (SAC) with the dense layer that they replace.

A network in_dim - 512 - 10 (ReLU) is trained with SGD. Its first layer is dense, or a `SACDense` in
a basis computed from the training part. See `experiments/README.md` for the columns.

    KERAS_BACKEND=torch python experiments/cifar_sac.py
    KERAS_BACKEND=jax python experiments/cifar_sac.py --dataset digits
"""

import os
import sys
from types import SimpleNamespace

# Waiting CPU threads of torch spin by default. This slows down small networks many times if another
# process uses a core. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness import accuracy_plots, datasets, rows
from harness.basis_plots import basis_plots
from harness.command_line import main
from harness.experiment import Experiment
from harness.options import Setup
from harness.sac_methods import HIDDEN_UNITS, TITLES, build_dense, build_sac, make_basis

_SGD = rows.Recipe(epochs=15, batch_size=256, learning_rate=0.01)
SETUPS = {
    "cifar10": Setup(_SGD, {"ranks": (32, 64, 128)}),
    "mnist": Setup(_SGD, {"ranks": (32, 64, 128)}),
    "digits": Setup(
        rows.Recipe(epochs=12, batch_size=64, learning_rate=0.02), {"ranks": (8, 16, 32)}, verbose=0
    ),
}


def make_rows(settings: SimpleNamespace) -> list[rows.Row]:
    """Return all rows of the table. A basis of only one rank has the last rank of the settings."""
    rank = settings.ranks[-1]
    discriminants = min(datasets.CLASSES - 1, rank)

    def sac(kind: str, rank: int = rank, **options) -> rows.Row:
        options = {"method": kind, **options}
        name = f"{kind}-{rank}{options['method'].removeprefix(kind)}"
        return rows.Row(name, build_sac, basis=kind, rank=rank, units=HIDDEN_UNITS, **options)

    return [
        rows.Row("dense", build_dense, units=HIDDEN_UNITS),
        *(sac("pca", each) for each in reversed(settings.ranks)),
        sac(
            "lda",
            discriminants,
            note=f"LDA of {datasets.CLASSES} classes has at most {datasets.CLASSES - 1} columns, "
            f"so rank {rank} cannot be had.",
        ),
        sac("random", note="the basis need not be stored: a seed will do."),
        sac("lda-pca"),
        sac("pca-whitened"),
        sac("dct", note="the basis need not be stored: it follows from the image's shape."),
        sac(
            "pca",
            method="pca-finetuned",
            finetuned=True,
            note="the basis is trained too from half of the epochs on, and counted as trained.",
        ),
        sac(
            "pca",
            method="pca-precomputed",
            precomputed=True,
            note="trained on the projections, which are computed once; the time an epoch leaves "
            "that out, and inference is that of the whole model.",
        ),
    ]


EXPERIMENT = Experiment(
    "cifar_sac",
    __doc__,
    make_rows,
    SETUPS,
    flat=True,
    plots={
        # Whitening only scales the columns of the PCA.
        **basis_plots(
            {kind: title for kind, title in TITLES.items() if kind != "pca-whitened"},
            lambda trial, kind, rank: make_basis(trial, kind, rank)[0].matrix,
        ),
        "accuracy_against_parameters.png": accuracy_plots.accuracy_against_parameters,
        "learning_curves.png": accuracy_plots.learning_curves,
    },
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
