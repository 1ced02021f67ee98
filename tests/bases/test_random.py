import keras
import numpy as np
import pytest

from keras_sac.bases import random_orthogonal
from tests.bases.correlated_data import assert_orthonormal

pytestmark = pytest.mark.backend_free


@pytest.mark.parametrize(("in_dim", "rank"), [(1, 1), (7, 7), (100, 3)])
def test_orthonormal(in_dim, rank):
    basis = random_orthogonal(in_dim, rank, seed=3)
    assert basis.matrix.shape == (in_dim, rank)
    assert_orthonormal(basis.matrix)
    assert (basis.kind, basis.seed, basis.mean, basis.spectrum) == ("random", 3, None, None)


def test_the_seed_regenerates_it():
    first, again = random_orthogonal(20, 5, 11), random_orthogonal(20, 5, 11)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert np.abs(random_orthogonal(20, 5, 12).matrix - first.matrix).max() > 0.1


def test_a_drawn_seed_follows_the_global_seed_and_is_kept():
    keras.utils.set_random_seed(4)
    first, second = random_orthogonal(20, 5), random_orthogonal(20, 5)
    keras.utils.set_random_seed(4)
    np.testing.assert_array_equal(random_orthogonal(20, 5).matrix, first.matrix)
    np.testing.assert_array_equal(random_orthogonal(20, 5, first.seed).matrix, first.matrix)
    assert first.seed != second.seed


def test_it_is_gram_schmidt_of_the_generators_gaussian():
    gaussian = np.random.default_rng(0).standard_normal((5, 2))
    # Gram-Schmidt by hand: the factorization with a positive diagonal is unique.
    first = gaussian[:, 0] / np.linalg.norm(gaussian[:, 0])
    second = gaussian[:, 1] - first * (first @ gaussian[:, 1])
    second /= np.linalg.norm(second)
    matrix = random_orthogonal(5, 2, 0).matrix
    np.testing.assert_allclose(matrix, np.stack([first, second], axis=1), atol=1e-6)


def test_uniform_on_the_sphere():
    # Of a Haar matrix each entry has mean 0 and variance 1 / n, the first column included: a QR
    # without the positive diagonal has its first entries all of one sign.
    entries = np.stack([random_orthogonal(4, 2, seed).matrix for seed in range(2000)])
    np.testing.assert_allclose(entries.mean(axis=0), 0, atol=4 * 0.5 / np.sqrt(2000))
    np.testing.assert_allclose(entries.var(axis=0), 0.25, atol=0.04)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, 0), "`rank` must be between 1 and 3"),
        ((3, 0, 0), "`rank` must be an integer >= 1"),
        ((0, 1, 0), "`in_dim` must be an integer >= 1"),
        ((2.5, 1, 0), "`in_dim` must be an integer"),
        ((3, 1, -1), "`seed` must be an integer >= 0. Received: seed=-1"),
        ((3, 1, 1.5), "`seed` must be"),
        ((3, 1, True), "`seed` must be"),
        ((3, 1, "1"), "`seed` must be"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_orthogonal(*arguments)
