"""The networks of the SAC comparison: the first layer is dense, or works in a basis."""

import time

import keras

from harness.basis_plots import Kind
from harness.rows import Plan, Trial
from keras_sac import BasisFinetuning, SACDense, bases, precompute_projection

HIDDEN_UNITS = 512


def _timed_moments(trial: Trial) -> tuple[bases.Moments, float]:
    split = trial.split
    return trial.timed("moments", lambda: bases.Moments.from_data(split.x_train, split.y_train))


def _moments(trial: Trial) -> bases.Moments:
    return _timed_moments(trial)[0]


# Kind of basis -> title, function of the trial and the rank. The random and the DCT basis need no
# data, but get their statistics: these set the initial scale of the learner, so that all rows start
# with outputs of the same variance.
KINDS: dict[str, Kind] = {
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
        basis: a kind of `KINDS`.
        rank: columns of the basis.
        units: of the first layer.
        finetuned: whether to train the basis too in the second half of the epochs.
        precomputed: whether to train on the projections of the samples, computed once.
    """
    moments_seconds = _timed_moments(trial)[1]
    made, basis_seconds = trial.timed(f"{basis}-{rank}", lambda: KINDS[basis][1](trial, rank))
    model = _network(trial, SACDense(units, made, activation="relu"))
    plan = Plan(model, facts=basis_facts(made, moments_seconds, basis_seconds))
    if finetuned:
        plan.callbacks.append(BasisFinetuning(start_epoch=trial.recipe.epochs // 2))
    if precomputed:
        start = time.perf_counter()
        plan.trained, plan.x_train = precompute_projection(model, trial.split.x_train, verbose=0)
        plan.facts["projection_seconds"] = time.perf_counter() - start
    return plan


def basis_facts(basis: bases.Basis, moments_seconds: float, basis_seconds: float) -> dict:
    """Return rank, explained variance and computation time of a basis for the result file."""
    explained = basis.explained_variance_ratio
    return {
        "rank": basis.rank,
        "moments_seconds": moments_seconds,
        "basis_seconds": basis_seconds,
        "explained_variance": None if explained is None else float(explained.sum()),
    }
