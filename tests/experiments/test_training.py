"""One run: counts, the choice of the epoch, what is evaluated and when."""

import keras
import numpy as np
import pytest

from harness import counts, latency, plans, training
from harness.errors import ExperimentError
from harness.splits import Split
from keras_sac import SACDense

CLASSES = 3


@pytest.fixture
def trial(rng):
    def part(n):
        x = rng.normal(size=(n, 6)).astype("float32")
        return x, (x[:, :CLASSES].argmax(axis=1)).astype("int32")

    split = Split(*part(64), *part(20), *part(30), image_shape=(2, 3, 1), classes=CLASSES)
    return plans.Trial(7, split, plans.Recipe(3, 16, 0.1))


def network(first):
    return keras.Sequential([keras.Input((6,)), first, keras.layers.Dense(CLASSES)])


def row(build, name="dense"):
    return plans.Row(name, name, {"method": name}, build)


def test_counts_of_a_dense_network():
    model = network(keras.layers.Dense(5))
    # 6 * 5 + 5 + 5 * 3 + 3.
    assert counts.parameters(model) == {"trainable": 53, "stored": 53}
    assert counts.macs(model) == 6 * 5 + 5 * 3


def test_counts_of_a_subspace_network(rng):
    model = network(SACDense(5, rng.normal(size=(6, 2)).astype("float32")))
    # Trained: 2 * 5 + 5 + 5 * 3 + 3; stored: the basis of 6 * 2 too.
    assert counts.parameters(model) == {"trainable": 33, "stored": 45}
    assert counts.macs(model) == 6 * 2 + 2 * 5 + 5 * 3
    wide = network(SACDense(5, rng.normal(size=(6, 6)).astype("float32")))
    # Two products of rank 6 would cost 66; the layer forms the kernel instead.
    assert counts.macs(wide) == 6 * 5 + 5 * 3


def test_counts_are_those_before_compile_too(rng):
    model = network(SACDense(5, rng.normal(size=(6, 2)).astype("float32")))
    expected = counts.parameters(model)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), plans.cross_entropy())
    model.fit(np.ones((4, 6), "float32"), np.zeros(4, "int32"), verbose=0)
    assert counts.parameters(model) == expected


def test_nested_models_are_counted_and_unknown_layers_refused():
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.ReLU()])
    assert counts.macs(network(inner)) == 6 * 4 + 4 * 3
    with pytest.raises(ExperimentError, match="is a BatchNormalization"):
        counts.macs(network(keras.layers.BatchNormalization()))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_counts_of_convolutions(padding):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((7, 6, 3)),
            layers.Conv2D(4, (3, 2), padding=padding),
            layers.MaxPooling2D(),
            layers.Conv2D(6, 1, strides=2, groups=2),
            layers.Reshape((-1, 6)),
            layers.Conv1D(5, 2, padding="same"),
        ]
    )
    # Positions of the output times the weights of the kernel.
    first, second, third = (5 * 5, 1 * 1, 1) if padding == "valid" else (7 * 6, 2 * 2, 4)
    expected = first * 3 * 2 * 3 * 4 + second * 2 * 6 + third * 2 * 6 * 5
    assert counts.macs(model) == expected


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


def test_a_plan_measures_and_is_given_the_weights_of_the_chosen_epoch(trial):
    model = network(keras.layers.Dense(5))
    seen, accuracy = [], [0.6, 0.9, 0.7, 0.8]

    class Snapshots(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(model.get_weights())

    def finish(weights):
        return {"weights": weights}

    def build(trial):
        return plans.Plan(
            model,
            callbacks=[Snapshots()],
            recipe=plans.Recipe(4, 16, 1e-3),
            # Measured after each epoch, in place of what the evaluation found.
            measures={"val_accuracy": lambda: accuracy[len(seen)], "size": lambda: 53.0},
            finish=finish,
        )

    outcome = training.run(row(build), trial, verbose=0)
    assert outcome["history"]["size"] == [53.0] * 4
    assert outcome["result"]["chosen_epoch"] == 2
    for weight, expected in zip(outcome["facts"]["weights"], seen[1], strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_an_epoch_that_was_left_out_may_be_chosen_after_all(trial):
    model = network(keras.layers.Dense(5))
    seen, kept = [], []
    # The second epoch is sparser than the first, which is out; the third is as sparse as the first.
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
        return plans.Plan(model, callbacks=[Snapshots()], measures=measures, finish=finish)

    outcome = training.run(row(build), trial, verbose=0)
    assert outcome["result"]["chosen_epoch"] == 1
    for weight, expected in zip(kept, seen[0], strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_another_model_may_be_counted_and_timed(trial):
    def build(trial):
        plan = plans.Plan(network(keras.layers.Dense(5)))

        def finish(weights):
            plan.measured = network(keras.layers.Dense(7))
            return {}

        plan.finish = finish
        return plan

    outcome = training.run(row(build), trial, verbose=0)
    assert outcome["counts"]["stored"] == 6 * 7 + 7 + 7 * 3 + 3
    assert outcome["counts"]["macs"] == 6 * 7 + 7 * 3


def test_a_run_reports_the_model_that_it_trained(trial):
    models = []

    def build(trial):
        models.append(network(keras.layers.Dense(5, activation="relu")))
        return plans.Plan(models[-1], facts={"rank": 4})

    outcome = training.run(row(build), trial, verbose=0)
    history, split = outcome["history"], trial.split
    assert {len(values) for values in history.values()} == {3}
    labels = keras.ops.convert_to_numpy(models[0](split.x_test)).argmax(axis=1)
    assert history["test_accuracy"][-1] == np.mean(labels == split.y_test)
    assert outcome["facts"] == {"rank": 4}
    assert outcome["counts"]["macs"] == 6 * 5 + 5 * 3
    assert [item["batch_size"] for item in outcome["latency"]] == [1, 256]
    assert outcome["environment"]["backend"] == keras.config.backend()


def test_a_seed_repeats_itself(trial):
    def build(trial):
        return plans.Plan(network(keras.layers.Dense(5, activation="relu")))

    first, again = (training.run(row(build), trial, verbose=0)["history"] for _ in range(2))
    np.testing.assert_allclose(first["loss"], again["loss"], rtol=1e-6)


def test_training_on_other_inputs_evaluates_the_whole_model(trial):
    front, back = keras.layers.Identity(), keras.layers.Dense(CLASSES)

    def build(trial):
        model = keras.Sequential([keras.Input((6,)), front, back])
        head = keras.Sequential([keras.Input((6,)), back])
        return plans.Plan(model, trained=head, x_train=trial.split.x_train)

    outcome = training.run(row(build), trial, verbose=0)
    labels = keras.ops.convert_to_numpy(back(trial.split.x_test)).argmax(axis=1)
    assert outcome["history"]["test_accuracy"][-1] == np.mean(labels == trial.split.y_test)


def test_latency_repeats_samples_where_there_are_too_few():
    model = network(keras.layers.Dense(5))
    results = latency.measure(model, np.ones((3, 6), "float32"), (2, 7), repeats=6, warm_up=1)
    assert [(r["batch_size"], r["repeats"]) for r in results] == [(2, 6), (7, 6)]
    assert all(r["median_ms"] > 0 for r in results)
    with pytest.raises(ValueError, match="at least 1"):
        latency.measure(model, np.ones((3, 6), "float32"), (0,))


def test_what_is_shared_is_made_once(trial):
    made = []
    assert trial.shared("key", lambda: made.append(1) or "value") == "value"
    assert trial.shared("key", lambda: made.append(1) or "other") == "value"
    assert made == [1]
    assert trial.timed("other", lambda: made.append(2) or "timed")[0] == "timed"
    first, again = (trial.timed("other", lambda: made.append(3)) for _ in range(2))
    assert first == again
    assert made == [1, 2]
