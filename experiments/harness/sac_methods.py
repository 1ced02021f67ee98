"""The networks of the SAC comparison: the first layer is dense, or works in a basis."""

import time
from collections.abc import Callable
from typing import Any

import keras

from harness.rows import Plan, Trial
from keras_sac import BasisFinetuning, SACDense, bases, precompute_projection

HIDDEN_UNITS = 512
# Kind of basis -> title, function of the moments of the data, the trial and the rank. The random
# and the DCT basis need no data, but get their statistics: these set the initial scale of the
# learner, so that all rows start with outputs of the same variance.
_KINDS: dict[str, tuple[str, Callable[[bases.Moments, Trial, int], bases.Basis]]] = {
    "pca": ("PCA", lambda moments, _, rank: bases.pca(moments, rank)),
    "lda": ("LDA", lambda moments, _, rank: bases.lda(moments, rank=rank)),
    "random": (
        "Random orthonormal vectors",
        lambda moments, trial, rank: bases.with_statistics(
            bases.random_orthogonal(len(moments.mean), rank, trial.seed), moments
        ),
    ),
    "lda-pca": (
        "LDA, then PCA of the residual",
        lambda moments, _, rank: bases.lda_pca(moments, rank=rank),
    ),
    "pca-whitened": (
        "PCA, whitened",
        lambda moments, _, rank: bases.pca(moments, rank, whiten=True),
    ),
    "dct": (
        "Discrete cosine transform, lowest frequencies",
        lambda moments, trial, rank: bases.with_statistics(
            bases.dct(trial.split.image_shape, rank), moments
        ),
    ),
}
TITLES = {kind: title for kind, (title, _) in _KINDS.items()}


def make_basis(
    trial: Trial,
    kind: str,
    rank: int,
    make_moments: Callable[[], bases.Moments] | None = None,
) -> tuple[bases.Basis, dict[str, Any]]:
    """Make a basis, once per trial.

    Args:
        trial: data and seed.
        kind: a kind of `TITLES`.
        rank: number of columns.
        make_moments: returns the moments of the samples that the basis is made for. Defaults to
            those of the training part.

    Returns:
        The basis, and its rank, explained variance and computation times for the result file.
    """
    x, y = trial.split.x_train, trial.split.y_train
    moments, moments_seconds = trial.timed(
        "moments", make_moments or (lambda: bases.Moments.from_data(x, y))
    )
    make = _KINDS[kind][1]
    basis, basis_seconds = trial.timed(f"{kind}-{rank}", lambda: make(moments, trial, rank))
    explained = basis.explained_variance_ratio
    return basis, {
        "rank": basis.rank,
        "moments_seconds": moments_seconds,
        "basis_seconds": basis_seconds,
        "explained_variance": None if explained is None else float(explained.sum()),
    }


def _network(trial: Trial, first: keras.layers.Layer) -> keras.Model:
    return keras.Sequential(
        [keras.Input(trial.split.x_train.shape[1:]), first, keras.layers.Dense(trial.split.classes)]
    )


def build_dense(trial: Trial, *, units: int) -> Plan:
    """Build the baseline."""
    return Plan(_network(trial, keras.layers.Dense(units, activation="relu")))


def build_sac(
    trial: Trial,
    *,
    basis: str,
    rank: int,
    units: int,
    finetuned: bool = False,
    precomputed: bool = False,
) -> Plan:
    """Build the network whose first layer works in a basis.

    Args:
        trial: data, seed and recipe.
        basis: a kind of `TITLES`.
        rank: columns of the basis.
        units: of the first layer.
        finetuned: train the basis too, in the second half of the epochs.
        precomputed: train on the projections of the samples, which are computed once.
    """
    made, facts = make_basis(trial, basis, rank)
    model = _network(trial, SACDense(units, made, activation="relu"))
    plan = Plan(model, facts=facts)
    if finetuned:
        plan.callbacks.append(BasisFinetuning(start_epoch=trial.recipe.epochs // 2))
    if precomputed:
        start = time.perf_counter()
        plan.trained, plan.x_train = precompute_projection(model, trial.split.x_train, verbose=0)
        plan.facts["projection_seconds"] = time.perf_counter() - start
    return plan
