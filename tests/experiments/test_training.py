"""Training of one row: counts, the choice of the epoch, and the evaluation."""

import keras
import numpy as np
import pytest

from harness import rows, training
from harness.splits import Split
from keras_sac import SACDense
from tests.marks import slow_elsewhere

pytestmark = slow_elsewhere

CLASSES = 3


@pytest.fixture
def trial(rng):
    def part(n):
        x = rng.normal(size=(n, 6)).astype("float32")
        return x, (x[:, :CLASSES].argmax(axis=1)).astype("int32")

    split = Split(*part(64), *part(20), *part(30), image_shape=(2, 3, 1), classes=CLASSES)
    return rows.Trial(7, split, rows.Recipe(3, 16, 0.1))


def network(first):
    return keras.Sequential([keras.Input((6,)), first, keras.layers.Dense(CLASSES)])


def row(build, name="dense"):
    return rows.Row(name, build)


def test_the_epoch_is_chosen_on_validation():
    history = {
        "val_accuracy": [0.5, 0.8, 0.8, 0.8, 0.7],
        "val_loss": [1.0, 0.9, 0.6, 0.6, float("nan")],
        "test_accuracy": [0.4, 0.6, 0.5, 0.45, 0.7],
    }
    assert training.choose(history) == {
        "chosen_epoch": 3,
        "test_accuracy": 0.5,
        "val_accuracy": 0.8,
        "best_test_epoch": 5,
        "best_test_accuracy": 0.7,
        "final_test_accuracy": 0.7,
    }


def test_epochs_less_sparse_than_the_last_are_not_chosen():
    history = {
        "val_accuracy": [0.9, 0.8, 0.6, 0.7],
        "val_loss": [1.0, 1.0, 1.0, 1.0],
        "test_accuracy": [0.9, 0.8, 0.65, 0.6],
        "sparsity": [0.5, 0.7, 0.8, 0.8],
    }
    result = training.choose(history)
    assert (result["chosen_epoch"], result["test_accuracy"]) == (4, 0.6)
    assert (result["best_test_epoch"], result["best_test_accuracy"]) == (3, 0.65)


def test_finish_receives_the_weights_of_the_chosen_epoch(trial):
    model = network(keras.layers.Dense(5))
    seen, accuracy = [], [0.6, 0.9, 0.7, 0.8]

    class Snapshots(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(model.get_weights())

    def finish(weights):
        return {"weights": weights}

    def build(trial):
        return rows.Plan(
            model,
            callbacks=[Snapshots()],
            recipe=rows.Recipe(4, 16, 1e-3),
            # Measured after each epoch, in place of what the evaluation found.
            measures={"val_accuracy": lambda: accuracy[len(seen)], "size": lambda: 53.0},
            finish=finish,
        )

    outcome = training.train_row(row(build), trial, verbose=0)
    assert outcome["history"]["size"] == [53.0] * 4
    assert outcome["result"]["chosen_epoch"] == 2
    for weight, expected in zip(outcome["facts"]["weights"], seen[1], strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_an_excluded_epoch_becomes_valid_if_a_later_one_is_less_sparse(trial):
    model = network(keras.layers.Dense(5))
    seen, kept = [], []
    # The second epoch is sparser than the first, which is excluded; the third is as sparse as it.
    accuracy, sparsity = [0.9, 0.7, 0.8], [0.5, 0.6, 0.5]

    class Snapshots(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(model.get_weights())

    measures = {
        "val_accuracy": lambda: accuracy[len(seen)],
        "sparsity": lambda: sparsity[len(seen)],
    }

    def build(trial):
        finish = lambda weights: kept.extend(weights) or {}  # noqa: E731
        return rows.Plan(model, callbacks=[Snapshots()], measures=measures, finish=finish)

    outcome = training.train_row(row(build), trial, verbose=0)
    assert outcome["result"]["chosen_epoch"] == 1
    for weight, expected in zip(kept, seen[0], strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_another_model_may_be_counted_and_timed(trial):
    def build(trial):
        plan = rows.Plan(network(keras.layers.Dense(5)))

        def finish(weights):
            plan.measured = network(keras.layers.Dense(7))
            return {}

        plan.finish = finish
        return plan

    outcome = training.train_row(row(build), trial, verbose=0)
    assert outcome["counts"]["stored"] == 6 * 7 + 7 + 7 * 3 + 3
    assert outcome["counts"]["macs"] == 6 * 7 + 7 * 3


def test_a_run_reports_the_model_that_it_trained(trial):
    models = []

    def build(trial):
        models.append(network(keras.layers.Dense(5, activation="relu")))
        return rows.Plan(models[-1], facts={"rank": 4})

    outcome = training.train_row(row(build), trial, verbose=0)
    history, split = outcome["history"], trial.split
    assert {len(values) for values in history.values()} == {3}
    labels = keras.ops.convert_to_numpy(models[0](split.x_test)).argmax(axis=1)
    assert history["test_accuracy"][-1] == np.mean(labels == split.y_test)
    assert outcome["facts"] == {"rank": 4}
    assert outcome["counts"]["macs"] == 6 * 5 + 5 * 3
    assert [item["batch_size"] for item in outcome["latency"]] == [1, 256]
    assert outcome["environment"]["backend"] == keras.config.backend()


def test_the_same_seed_gives_the_same_run(trial):
    def build(trial):
        return rows.Plan(network(keras.layers.Dense(5, activation="relu")))

    first, again = (training.train_row(row(build), trial, verbose=0)["history"] for _ in range(2))
    np.testing.assert_allclose(first["loss"], again["loss"], rtol=1e-6)


def test_training_on_other_inputs_evaluates_the_whole_model(trial):
    front, back = keras.layers.Identity(), keras.layers.Dense(CLASSES)

    def build(trial):
        model = keras.Sequential([keras.Input((6,)), front, back])
        head = keras.Sequential([keras.Input((6,)), back])
        return rows.Plan(model, trained=head, x_train=trial.split.x_train)

    outcome = training.train_row(row(build), trial, verbose=0)
    labels = keras.ops.convert_to_numpy(back(trial.split.x_test)).argmax(axis=1)
    assert outcome["history"]["test_accuracy"][-1] == np.mean(labels == trial.split.y_test)


@pytest.mark.parametrize(
    ("rank", "trained", "stored", "macs"),
    # 6 * 5 + 5 * 3; 6 * 2 + 2 * 5 + 5 * 3; rank 6 would cost 66, and the layer forms the kernel.
    [(None, 53, 53, 45), (2, 33, 45, 37), (6, 53, 89, 45)],
)
def test_counts(trial, rng, rank, trained, stored, macs):
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]

    def build(trial):
        first = SACDense(5, basis[:, :rank]) if rank else keras.layers.Dense(5)
        return rows.Plan(network(first))

    outcome = training.train_row(row(build), trial, verbose=0)
    assert outcome["counts"] == {"trainable": trained, "stored": stored, "macs": macs}


def test_shared_values_are_computed_once(trial):
    made = []
    assert trial.shared("key", lambda: made.append(1) or "value") == "value"
    assert trial.shared("key", lambda: made.append(1) or "other") == "value"
    assert made == [1]
    assert trial.timed("other", lambda: made.append(2) or "timed")[0] == "timed"
    first, again = (trial.timed("other", lambda: made.append(3)) for _ in range(2))
    assert first == again
    assert made == [1, 2]


def test_a_row_records_what_it_passes_to_its_function():
    recipe = rows.Recipe(2, 8, 0.1)
    row = rows.Row(
        "pca-8", lambda *args, **given: (args, given), method="pca", rank=8, tuning=recipe
    )
    assert row.plan("trial") == (("trial",), {"rank": 8, "tuning": recipe})
    assert row.settings == {"method": "pca", "rank": 8, "tuning": recipe.settings()}
    assert rows.Row("dense", print).method == "dense"
