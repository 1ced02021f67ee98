"""Compare subspace layers (SAC) with the dense layer that they replace.

A network in_dim - 512 - 10 (ReLU) is trained with SGD; its first layer is dense, or a `SACDense`
in a basis computed from the training part. See `experiments/README.md` for the columns.

    KERAS_BACKEND=torch python experiments/cifar_sac.py
    KERAS_BACKEND=jax python experiments/cifar_sac.py --dataset digits
"""

import dataclasses
import os
import sys
from collections.abc import Sequence

# torch's waiting CPU threads spin by default, which makes small networks many times slower where
# another process holds a core. Has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness import datasets
from harness.command import run_command
from harness.options import Defaults, Options
from harness.plans import Recipe, Row
from harness.session import Experiment, draw_bases, report, run_missing, selected
from harness.subspaces import HIDDEN_UNITS, KINDS, build_dense, build_sac

NAME = "cifar_sac"
BASELINE = "dense"


@dataclasses.dataclass(frozen=True)
class Setup(Defaults):
    """What this experiment does on one data set; the last of the ranks is used for all kinds."""

    ranks: tuple[int, ...] = (32, 64, 128)


SETUPS = {
    "cifar10": Setup(Recipe(epochs=15, batch_size=256, learning_rate=0.01)),
    "mnist": Setup(Recipe(epochs=15, batch_size=256, learning_rate=0.01)),
    "digits": Setup(
        Recipe(epochs=12, batch_size=64, learning_rate=0.02), verbose=0, ranks=(8, 16, 32)
    ),
}


def make_rows(setup: Setup, classes: int = datasets.CLASSES) -> list[Row]:
    """Return all rows of the table for one data set."""
    rank = setup.ranks[-1]
    discriminants = min(classes - 1, rank)

    def sac(name, kind, rank, *, method=None, note="", **variant):
        settings = {"method": method or kind, "basis": kind, "rank": rank, "units": HIDDEN_UNITS}
        return Row(
            name,
            method or kind,
            {**settings, **variant},
            lambda trial: build_sac(trial, kind, rank, **variant),
            note,
        )

    dense = {"method": BASELINE, "units": HIDDEN_UNITS}
    return [
        Row(BASELINE, BASELINE, dense, build_dense),
        *(sac(f"pca-{r}", "pca", r) for r in reversed(setup.ranks)),
        sac(
            f"lda-{discriminants}",
            "lda",
            discriminants,
            note=f"LDA of {classes} classes has at most {classes - 1} columns, so rank {rank} "
            "cannot be had.",
        ),
        sac(f"random-{rank}", "random", rank, note="the basis need not be stored: a seed will do."),
        sac(f"lda-pca-{rank}", "lda-pca", rank),
        sac(f"pca-whitened-{rank}", "pca-whitened", rank),
        sac(
            f"dct-{rank}",
            "dct",
            rank,
            note="the basis need not be stored: it follows from the image's shape.",
        ),
        sac(
            f"pca-{rank}-finetuned",
            "pca",
            rank,
            method="pca-finetuned",
            finetuned=True,
            note="the basis is trained too from half of the epochs on, and counted as trained.",
        ),
        sac(
            f"pca-{rank}-precomputed",
            "pca",
            rank,
            method="pca-precomputed",
            precomputed=True,
            note="trained on the projections, which are computed once; the time an epoch leaves "
            "that out, and inference is that of the whole model.",
        ),
    ]


def compare(options: Options) -> None:
    """Run the experiment that the options ask for, and report it."""
    options.check()
    setup = SETUPS[options.dataset]
    rows = make_rows(setup)
    selected(rows, options.runs)
    dataset = datasets.load(options.dataset, options.data_dir).limited(options.limit)
    options.check_rank(len(dataset.x_train), max(setup.ranks))
    experiment = Experiment(
        NAME,
        options,
        dataset,
        options.recipe(setup.recipe),
        rows,
        BASELINE,
        setup.verbose if options.verbose is None else options.verbose,
    )
    store = experiment.store()
    run_missing(experiment, store)
    present = {run["row_settings"].get("basis") for run in store.load_all()}
    titles = {
        kind: f"{title} · {dataset.label}"
        for kind, (title, _) in KINDS.items()
        # Whitening only scales the columns of the PCA.
        if kind in present and kind != "pca-whitened"
    }
    ranks = {"lda": min(datasets.CLASSES - 1, setup.ranks[-1])}
    draw_bases(
        experiment,
        store.folder,
        titles,
        lambda trial, kind: KINDS[kind][1](trial, ranks.get(kind, setup.ranks[-1])).matrix,
    )
    report(experiment, store)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, and return the exit code."""
    return run_command(NAME, Options, compare, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
