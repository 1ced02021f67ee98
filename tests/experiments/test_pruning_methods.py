"""The methods of the pruning comparison, on small images."""

import json

import keras
import numpy as np
import pytest

from harness import pruning_methods, pruning_network, rows, sparse_training, training
from harness.splits import Split
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

PADDING = "same"
SCHEDULE = {"frequency": 2, "initial_sparsity": 0.5, "end": 0.8}


@pytest.fixture
def trial(rng, tmp_path):
    def part(n):
        x = rng.normal(size=(n, 4, 4, 1)).astype("float32")
        return x, (x.mean(axis=(1, 2, 3)) > 0).astype("int32")

    split = Split(*part(96), *part(20), *part(30), image_shape=(4, 4, 1), classes=2)
    recipe = rows.Recipe(2, 16, 1e-3, algorithm="adam")
    return rows.Trial(7, split, recipe, tmp_path)


def row(build):
    return rows.Row("row", build)


def kernels(model):
    return [w for w in model.get_weights() if w.ndim > 1]


def fraction_of_zeros(weights):
    return sum((w == 0).sum() for w in weights) / sum(w.size for w in weights)


def watched(build, models):
    """Keep the models that `build` makes."""

    def keep(trial):
        plan = build(trial)
        models.append(plan.model)
        return plan

    return row(keep)


@pytest.mark.parametrize(
    ("steps", "frequency", "begin", "expected"),
    [
        (4220, 100, 0, (0, 3300)),
        (4220, 100, 844, (800, 3300)),
        (12, 5, 0, (0, 5)),
    ],
)
def test_a_schedule_begins_and_ends_on_multiples(steps, frequency, begin, expected):
    made = sparse_training.polynomial_schedule(
        steps, 0.9, frequency=frequency, initial_sparsity=0.5, end=0.8, begin=begin
    )
    assert (made.begin_step, made.end_step) == expected
    assert (made.initial_sparsity, made.final_sparsity) == (0.5, 0.9)


def test_the_layers_of_the_network(trial):
    model = pruning_network.network(trial, "same")
    # Kernels 3x3 into 32 and 64 channels; the pools leave one position of 64.
    shapes = [w.shape for w in kernels(model)]
    assert shapes == [(3, 3, 1, 32), (3, 3, 32, 64), (64, 128), (128, 2)]
    assert model.get_layer("conv_2").activation is keras.activations.relu


def test_pruning_while_training_follows_the_schedule(trial):
    models = []
    build = watched(
        lambda t: pruning_methods.build_gradual(t, PADDING, sparsity=0.9, **SCHEDULE), models
    )
    outcome = training.train_row(build, trial, verbose=0)
    facts = outcome["facts"]
    assert (facts["schedule"]["begin_step"], facts["schedule"]["end_step"]) == (0, 8)
    assert facts["trace"]["step"] == list(range(1, 13))
    # The masks of step t are made right after update t - 1, at every second step up to 8.
    sizes = [w.size for w in kernels(models[0])]
    for updates, reached in zip(facts["trace"]["step"], facts["trace"]["sparsity"], strict=True):
        refreshed = min((updates + 1) // 2 * 2, 8)
        asked = 0.9 + (0.5 - 0.9) * (1 - refreshed / 8) ** 3
        expected = sum(size - round(size * (1 - asked)) for size in sizes) / sum(sizes)
        assert reached == pytest.approx(expected, abs=2 / sum(sizes) * len(sizes))
    assert facts["sparsity"] == fraction_of_zeros(kernels(models[0]))
    assert facts["nonzero"] == sum(np.count_nonzero(w) for w in kernels(models[0]))
    assert outcome["history"]["sparsity"][-1] == facts["sparsity"]


@pytest.mark.parametrize("criterion", ["magnitude", "gradient", "obd", "random"])
def test_every_criterion_reaches_the_same_sparsity_from_the_dense_weights(trial, criterion):
    weights = pruning_network.network(trial, PADDING).get_weights()
    trial.shared("dense weights", lambda: weights)
    recipe = rows.Recipe(1, 16, 1e-4, algorithm="adam")
    plan = pruning_methods.build_criterion(
        trial,
        PADDING,
        criterion=criterion,
        block_size=None,
        sparsity=0.75,
        frequency=1,
        initial_sparsity=0.5,
        end=0.6,
        tuning=recipe,
    )
    for own, dense in zip(plan.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(own, dense)
    outcome = training.train_row(row(lambda _: plan), trial, verbose=0)
    # The largest error by rounding is half a weight of each kernel.
    assert outcome["facts"]["sparsity"] == pytest.approx(0.75, abs=1e-3)
    assert len(outcome["history"]["loss"]) == 1


def test_one_shot_pruning_reports_before_and_after(trial):
    built = []

    def build(trial):
        tuning = rows.Recipe(1, 16, 1e-4)
        plan = pruning_methods.build_one_shot(trial, PADDING, tuning=tuning, threshold=0.1)
        built.extend([plan.model, plan.model.get_weights()])
        return plan

    outcome = training.train_row(row(build), trial, verbose=0)
    model, after = built
    before = pruning_network.dense_weights(trial, PADDING)
    for dense, pruned in zip(before, after, strict=True):
        expected = np.where(np.abs(dense) < 0.1, 0, dense) if dense.ndim > 1 else dense
        np.testing.assert_array_equal(pruned, expected)
    facts, split = outcome["facts"], trial.split
    # The baseline was trained first, and its weights at the chosen epoch are stored.
    with np.load(trial.folder / "weights" / "dense-seed7.npz") as kept:
        for i, weight in enumerate(before):
            np.testing.assert_array_equal(kept[f"weight_{i}"], weight)
    assert (trial.folder / "weights" / ".gitignore").read_text() == "*\n"
    zeros = [w == 0 for w in after]
    assert facts["sparsity_pruned"] == fraction_of_zeros([w for w in after if w.ndim > 1])
    assert facts["sparsity"] == facts["sparsity_pruned"]
    for weight, was_zero in zip(model.get_weights(), zeros, strict=True):
        assert weight.ndim == 1 or not weight[was_zero].any()
    for name, weights in (("before", before), ("pruned", after)):
        model.set_weights(weights)
        labels = keras.ops.convert_to_numpy(model(split.x_test)).argmax(axis=1)
        assert facts[f"test_accuracy_{name}"] == np.mean(labels == split.y_test)


def test_stored_weights_of_other_settings_are_not_used(trial, capsys):
    first = pruning_network.dense_weights(trial, PADDING)
    assert "training them" in capsys.readouterr().out
    same = rows.Trial(trial.seed, trial.split, trial.recipe, trial.folder)
    for kept, weight in zip(pruning_network.dense_weights(same, PADDING), first, strict=True):
        np.testing.assert_array_equal(kept, weight)
    assert capsys.readouterr().out == ""
    path = trial.folder / "weights" / "dense-seed7.npz"
    with np.load(path) as archive:
        assert json.loads(str(archive["origin"]))[1] == trial.recipe.settings()
    other = rows.Recipe(1, 16, 1e-3, algorithm="adam")
    pruning_network.dense_weights(rows.Trial(7, trial.split, other, trial.folder), PADDING)
    assert "training them" in capsys.readouterr().out


def test_filters_below_the_threshold_of_their_layer(trial):
    model = pruning_network.network(trial, PADDING)
    norms = [np.abs(w).sum(axis=(0, 1, 2)) for w in kernels(model)[:2]]
    # Between the smallest norm of the second convolution and the next.
    between = float(np.sort(norms[1])[:2].mean())
    thresholds = {"conv_1": float(np.median(norms[0])), "conv_2": between}
    weights = model.get_weights()
    trial.shared("dense weights", lambda: weights)
    plan = pruning_methods.build_one_shot(
        trial, PADDING, tuning=trial.recipe, filter_thresholds=thresholds
    )
    model = plan.model
    quartiles = np.percentile(norms[0], [0, 25, 50, 75, 100])
    assert plan.facts["filter_norms"]["conv_1"] == pytest.approx(quartiles, abs=1e-3)
    after = [np.abs(w).sum(axis=(0, 1, 2)) for w in kernels(model)[:2]]
    np.testing.assert_array_equal(after[0] == 0, norms[0] < thresholds["conv_1"])
    assert (after[1] == 0).sum() == 1
    zeros = sparse_training.sparsity_facts(model)
    assert zeros["filter_sparsity"] == (16 + 1) / 96
    [dense] = [v for path, v in zeros["layers"].items() if path.endswith("dense_1/kernel")]
    assert dense == 0
