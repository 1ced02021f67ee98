"""`adapt`: the basis, the mean and the scale of the learner are computed from the inputs."""

import re

import keras
import numpy as np
import pytest

from keras_sac import bases
from keras_sac.layers import SACDense


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def data(rng, n=200, width=12):
    return (rng.normal(size=(n, width)) * np.linspace(1, 4, width)).astype("float32")


@pytest.mark.parametrize("kind", ["lda", "lda_pca"])
def test_adapt_with_labels(rng, kind):
    x = data(rng)
    labels = np.arange(200) % 3
    x[:, 0] += 4 * labels
    layer = SACDense(4, kind, rank=2)
    layer.adapt(x, labels)
    make = getattr(bases, kind)
    np.testing.assert_allclose(numpy(layer.basis), make(x, labels, rank=2).matrix, atol=1e-5)


def test_adapt_repeats_the_labels_over_the_positions(rng):
    x = rng.normal(size=(60, 5, 6)).astype("float32")
    labels = np.arange(60) % 3
    x[..., 0] += labels[:, None]
    layer = SACDense(4, "lda", rank=2)
    layer.adapt(x, labels, batch_size=25)
    flat = bases.lda(x.reshape(-1, 6), np.repeat(labels, 5), rank=2)
    np.testing.assert_allclose(numpy(layer.basis), flat.matrix, atol=1e-5)


def test_adapt_takes_a_label_for_each_position(rng):
    x = rng.normal(size=(60, 5, 6)).astype("float32")
    labels = rng.integers(0, 3, (60, 5))
    x[..., 0] += labels
    layer = SACDense(4, "lda", rank=2)
    layer.adapt(x, labels)
    flat = bases.lda(x.reshape(-1, 6), labels.reshape(-1), rank=2)
    np.testing.assert_allclose(numpy(layer.basis), flat.matrix, atol=1e-5)


@pytest.mark.parametrize(("shape", "message"), [((60, 6), "argmax"), ((60, 5, 6), "(60, 3)")])
def test_adapt_refuses_one_hot_labels(rng, shape, message):
    x = rng.normal(size=shape).astype("float32")
    layer = SACDense(4, "lda", rank=2)
    with pytest.raises(ValueError, match=re.escape(message)):
        layer.adapt(x, np.eye(3)[np.arange(60) % 3])
    assert not layer.built


def test_adapt_reads_labels_from_the_batches(rng):
    x, labels = data(rng), np.arange(200) % 3
    x[:, 0] += 4 * labels
    layer = SACDense(4, "lda", rank=2)
    layer.adapt((x[i : i + 50], labels[i : i + 50]) for i in range(0, 200, 50))
    np.testing.assert_allclose(numpy(layer.basis), bases.lda(x, labels, rank=2).matrix, atol=1e-5)


def test_adapt_with_a_fixed_basis_gives_it_the_mean(rng):
    x = data(rng) + 7
    layer = SACDense(4, "random", rank=3, center=True, seed=1)
    layer.adapt(x)
    np.testing.assert_allclose(numpy(layer.mean), x.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(numpy(layer.basis), bases.random_orthogonal(12, 3, 1).matrix)


def test_adapt_after_training_starts_over(rng):
    x = data(rng)
    layer = SACDense(4, "pca", rank=3)
    layer.adapt(x)
    old = numpy(layer.learner).copy()
    layer.adapt(x[:, ::-1])
    assert np.abs(numpy(layer.learner) - old).max() > 0
    np.testing.assert_allclose(numpy(layer.basis), bases.pca(x[:, ::-1], rank=3).matrix, atol=1e-5)


def test_a_custom_basis_cannot_be_adapted_to(rng):
    config = SACDense(3, np.eye(8)[:, :2]).get_config()
    layer = SACDense.from_config({**config, "basis": "custom"})
    for build in (False, True):
        if build:
            layer.build((None, 8))
        with pytest.raises(ValueError, match="with the matrix itself"):
            layer.adapt(data(rng, width=8))


def test_single_samples_are_no_batches(rng):
    with pytest.raises(ValueError, match="for a single sample"):
        SACDense(3, "pca", rank=2).adapt(iter(data(rng, width=8)))


def test_built_symbolically_then_adapted(rng):
    x = data(rng)
    model = keras.Sequential([keras.Input((12,)), SACDense(3, "pca", rank=2)])
    model.layers[0].adapt(x)
    assert np.isfinite(model.predict(x, verbose=0)).all()


@pytest.mark.parametrize("built", [False, True])
@pytest.mark.parametrize(
    ("bad", "labels", "message"),
    [
        (np.full((20, 8), np.nan, "float32"), None, "NaN|finite"),
        (np.zeros((0, 8), "float32"), None, "no samples"),
        (np.ones((20, 1), "float32"), None, "rank|width"),
    ],
)
def test_a_failed_adapt_leaves_the_layer_as_it_was(rng, built, bad, labels, message):
    layer = SACDense(3, "pca", rank=2)
    good = data(rng, width=8)
    if built:
        layer.adapt(good)
        before = [numpy(w).copy() for w in layer.weights]
    with pytest.raises(ValueError, match=message):
        layer.adapt(bad, labels)
    assert layer.built == built
    if built:
        for weight, old in zip(layer.weights, before, strict=True):
            np.testing.assert_array_equal(numpy(weight), old)
    layer.adapt(good)
    assert np.isfinite(numpy(layer(good))).all()
