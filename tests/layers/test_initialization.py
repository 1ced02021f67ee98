"""The default learner gives the output variance of the stock layer with `glorot_uniform`."""

import keras
import numpy as np
import pytest

from keras_sac import bases
from keras_sac.layers import SACConv2D, SACDense, SACEinsumDense


def output_variance(make, x, draws=40):
    """Mean square of the outputs over many draws of the weights."""
    squares = []
    for _ in range(draws):
        squares.append(np.mean(np.square(keras.ops.convert_to_numpy(make()(x)))))
    return float(np.mean(squares))


def correlated(rng, n, width, mean=0.0):
    """Samples whose variance is in a few directions, as images have it."""
    scales = 5.0 / np.arange(1, width + 1)
    rotation, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return ((rng.normal(size=(n, width)) * scales) @ rotation + mean).astype("float32")


@pytest.mark.parametrize("mean", [0.0, 1.5])
@pytest.mark.parametrize("kind", ["pca", "pca_whitened", "random"])
def test_dense_on_correlated_data(rng, kind, mean):
    x = correlated(rng, 500, 60, mean)

    def sac():
        layer = SACDense(40, kind, rank=6)
        layer.adapt(x)
        return layer

    reference = output_variance(lambda: keras.layers.Dense(40), x)
    assert output_variance(sac, x) == pytest.approx(reference, rel=0.25)


def test_dense_on_isotropic_data_without_statistics(rng):
    x = rng.normal(size=(500, 64)).astype("float32")
    basis = bases.random_orthogonal(64, 8, seed=3)
    reference = output_variance(lambda: keras.layers.Dense(32), x)
    assert output_variance(lambda: SACDense(32, basis), x) == pytest.approx(reference, rel=0.25)


def test_centered_inputs_are_matched_too(rng):
    x = correlated(rng, 500, 60, mean=3.0)
    basis = bases.pca(x, rank=5)
    reference = output_variance(lambda: keras.layers.Dense(40), x)
    got = output_variance(lambda: SACDense(40, basis, center=True), x)
    assert got == pytest.approx(reference, rel=0.25)


def test_convolution(rng):
    x = rng.normal(size=(30, 9, 9, 4)).astype("float32")
    basis = bases.random_orthogonal(36, 9, seed=1)
    reference = output_variance(lambda: keras.layers.Conv2D(24, 3), x)
    got = output_variance(lambda: SACConv2D(24, 3, basis), x)
    assert got == pytest.approx(reference, rel=0.25)


def test_einsum(rng):
    x = rng.normal(size=(40, 7, 30)).astype("float32")
    equation, shape = "abc,cde->abde", (None, 4, 6)
    basis = bases.random_orthogonal(30, 8, seed=1)
    reference = output_variance(lambda: keras.layers.EinsumDense(equation, shape), x)
    got = output_variance(lambda: SACEinsumDense(equation, shape, basis), x)
    assert got == pytest.approx(reference, rel=0.25)


def test_a_clone_is_drawn_with_the_same_scale(rng):
    x = correlated(rng, 500, 60)
    layer = SACDense(40, bases.pca(x, rank=6))
    layer(x)
    reference = np.std(keras.ops.convert_to_numpy(layer.learner))
    clone = SACDense.from_config(layer.get_config())
    clone(x)
    assert np.std(keras.ops.convert_to_numpy(clone.learner)) == pytest.approx(reference, rel=0.2)


def test_a_basis_orthogonal_to_the_data_gives_a_finite_learner():
    x = np.zeros((50, 4), dtype="float32")
    x[:, 0] = np.linspace(-1, 1, 50)
    layer = SACDense(3, np.eye(4)[:, 2:])
    layer.adapt(x)
    assert np.isfinite(keras.ops.convert_to_numpy(layer.learner)).all()
