"""The networks of the SAC comparison: a dense first layer, or one that works in a basis."""

import time
from collections.abc import Callable

import keras

from harness.plans import Plan, Trial
from keras_sac import BasisFinetuning, SACDense, bases, precompute_projection

HIDDEN_UNITS = 512


def _moments(trial: Trial) -> bases.Moments:
    return trial.timed("moments", lambda: _make_moments(trial))[0]


def _make_moments(trial):
    return bases.Moments.from_data(trial.split.x_train, trial.split.y_train)


# Kind of basis -> (what it is, how it is made from the trial and the rank). The bases that need no
# data are given its statistics all the same: they set the learner's first scale, and without them
# these rows would start from outputs of another variance than all other rows.
KINDS: dict[str, tuple[str, Callable[[Trial, int], bases.Basis]]] = {
    "pca": ("PCA", lambda trial, rank: bases.pca(_moments(trial), rank)),
    "lda": ("LDA", lambda trial, rank: bases.lda(_moments(trial), rank=rank)),
    "random": (
        "Random orthonormal vectors",
        lambda trial, rank: bases.with_statistics(
            bases.random_orthogonal(_in_dim(trial), rank, trial.seed), _moments(trial)
        ),
    ),
    "lda-pca": (
        "LDA, then PCA of the residual",
        lambda trial, rank: bases.lda_pca(_moments(trial), rank=rank),
    ),
    "pca-whitened": (
        "PCA, whitened",
        lambda trial, rank: bases.pca(_moments(trial), rank, whiten=True),
    ),
    "dct": (
        "Discrete cosine transform, lowest frequencies",
        lambda trial, rank: bases.with_statistics(
            bases.dct(trial.split.image_shape, rank), _moments(trial)
        ),
    ),
}


def _in_dim(trial: Trial) -> int:
    return trial.split.x_train.shape[1]


def _network(trial: Trial, first: keras.layers.Layer) -> keras.Model:
    return keras.Sequential(
        [keras.Input((_in_dim(trial),)), first, keras.layers.Dense(trial.split.classes)]
    )


def build_dense(trial: Trial) -> Plan:
    """Build the baseline."""
    return Plan(_network(trial, keras.layers.Dense(HIDDEN_UNITS, activation="relu")))


def build_sac(
    trial: Trial, kind: str, rank: int, *, finetuned: bool = False, precomputed: bool = False
) -> Plan:
    """Build the network whose first layer works in a basis."""
    moments_seconds = trial.timed("moments", lambda: _make_moments(trial))[1]
    basis, basis_seconds = trial.timed(f"{kind}-{rank}", lambda: KINDS[kind][1](trial, rank))
    model = _network(trial, SACDense(HIDDEN_UNITS, basis, activation="relu"))
    explained = basis.explained_variance_ratio
    plan = Plan(
        model,
        facts={
            "rank": basis.rank,
            "moments_seconds": moments_seconds,
            "basis_seconds": basis_seconds,
            "explained_variance": None if explained is None else float(explained.sum()),
        },
    )
    if finetuned:
        plan.callbacks.append(BasisFinetuning(start_epoch=trial.recipe.epochs // 2))
    if precomputed:
        start = time.perf_counter()
        plan.trained, plan.x_train = precompute_projection(model, trial.split.x_train, verbose=0)
        plan.facts["projection_seconds"] = time.perf_counter() - start
    return plan
