"""Fine-tuning of compressed networks, and what a row measures."""

import keras
import numpy as np
import pytest

from harness import compression_methods, rows, splits, training
from harness.datasets import load
from harness.rows import Trial
from keras_sac.layers import SubspaceLayer
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

RECIPE = rows.Recipe(2, 32, 1e-3, algorithm="adam")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    split = splits.split(load("digits").limited(400), 3)
    return Trial(3, split, RECIPE, tmp_path_factory.mktemp("networks"))


def trained(trial, build, **arguments):
    """Return the model before and after fine-tuning, and the outcome."""
    source = {"network": "digits-cnn", "networks_dir": None, "finetune_limit": None}
    kept = []

    def keep(trial):
        plan = build(trial, **{**source, **arguments})
        kept.extend([plan.model, plan.model.get_weights()])
        return plan

    outcome = training.train_row(rows.Row("row", keep), trial, verbose=0)
    return *kept, outcome


def test_fine_tuning_keeps_zeros(trial):
    model, before, outcome = trained(
        trial, compression_methods.build_magnitude, level=0.8, budget="zeros"
    )
    changed = 0
    for old, new in zip(before, model.get_weights(), strict=True):
        if old.ndim > 1:
            np.testing.assert_array_equal(new[old == 0], 0)
            changed += np.sum(new != old)
    assert changed > 1000
    facts = outcome["facts"]
    assert facts["finetuned_val_accuracy"] > outcome["result"]["val_accuracy"]
    assert facts["finetuned_sparsity"] == facts["sparsity"] == pytest.approx(0.8, abs=1e-3)


def test_fine_tuning_trains_learners_and_no_bases(trial):
    model, before, outcome = trained(
        trial,
        compression_methods.build_svd,
        ranks="global",
        budget="parameters",
        level=0.3,
        calibration_samples=100,
    )
    paths = [weight.path for weight in model.weights]
    after = model.get_weights()
    moved = {p for p, old, new in zip(paths, before, after, strict=True) if (old != new).any()}
    layers = [layer for layer in model.layers if isinstance(layer, SubspaceLayer)]
    assert layers
    for layer in layers:
        assert layer.basis.path not in moved
        assert layer.learner.path in moved
    assert outcome["facts"]["finetuned_accuracy"] > outcome["result"]["test_accuracy"]


def test_a_limit_of_the_fine_tuning_and_the_same_order_for_a_seed(trial, monkeypatch):
    seen = []

    def watched(split, *arguments):
        seen.append((len(split.x_train), *arguments))
        return batches(split, *arguments)

    batches = compression_methods.ImageBatches
    monkeypatch.setattr(compression_methods, "ImageBatches", watched)
    models = [
        trained(trial, compression_methods.build_dense, finetune_limit=64)[0] for _ in range(2)
    ]
    assert seen == [(64, 32, False, 3)] * 2
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_calibration_samples_are_drawn_by_the_seed(trial):
    x, y = compression_methods.calibration_data(trial, 50)
    again, _ = compression_methods.calibration_data(trial, 50)
    other, _ = compression_methods.calibration_data(
        Trial(4, trial.split, trial.recipe, trial.folder), 50
    )
    np.testing.assert_array_equal(x, again)
    assert (x != other).any()
    train = trial.split.x_train.reshape(len(trial.split.x_train), -1)
    places = [int(np.flatnonzero((train == one.ravel()).all(axis=1))[0]) for one in x]
    assert len(set(places)) == 50
    np.testing.assert_array_equal(trial.split.y_train[places], y)


def test_a_hash_for_each_network():
    a, b = (keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]) for _ in range(2))
    digest = compression_methods._digest
    assert digest(a) == digest(a)
    assert digest(a) != digest(b)
    b.set_weights(a.get_weights())
    assert digest(a) == digest(b)
