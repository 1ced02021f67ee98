"""The order of the samples: a training run must agree with a loop in NumPy."""

import keras
import numpy as np

from harness import rows, training
from harness.shuffled_batches import ShuffledBatches, sample_order
from harness.splits import Split


def test_an_order_is_a_permutation_of_its_seed_and_epoch():
    first = sample_order(50, 7, 0)
    assert sorted(first) == list(range(50))
    np.testing.assert_array_equal(first, sample_order(50, 7, 0))
    assert not np.array_equal(first, sample_order(50, 7, 1))
    assert not np.array_equal(first, sample_order(50, 8, 0))


def test_the_last_batch_has_the_remaining_samples(rng):
    x, y = rng.normal(size=(10, 2)), np.arange(10)
    batches = ShuffledBatches(x, y, 4, seed=3)
    batches.begin_epoch(2)
    parts = [batches[i] for i in range(len(batches))]
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    expected = sample_order(10, 3, 2)
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), expected)
    np.testing.assert_array_equal(np.concatenate([samples for samples, _ in parts]), x[expected])


def test_a_run_trains_on_the_batches_in_their_order(rng):
    samples, epochs, size, rate = 22, 3, 5, 0.5
    x = rng.normal(size=(samples, 3)).astype("float32")
    y = rng.integers(0, 2, samples).astype("int32")
    split = Split(x, y, x, y, x, y, image_shape=(1, 3, 1), classes=2)
    trial = rows.Trial(11, split, rows.Recipe(epochs, size, rate, momentum=0.0))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    kernel = model.get_weights()[0].astype("float64")

    def build(trial):
        return rows.Plan(model, x_train=ShuffledBatches(x, y, size, trial.seed))

    training.train_row(rows.Row("row", build), trial, verbose=0)
    for epoch in range(epochs):
        chosen = sample_order(samples, 11, epoch)
        for start in range(0, samples, size):
            batch = chosen[start : start + size]
            scores = np.exp(x[batch] @ kernel)
            error = scores / scores.sum(axis=1, keepdims=True) - np.eye(2)[y[batch]]
            kernel -= rate * x[batch].T @ error / len(batch)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-5)
