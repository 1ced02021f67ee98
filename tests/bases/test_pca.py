import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from keras_sac.bases import Moments, lda, lda_pca, pca
from tests.bases.correlated_data import assert_orthonormal, correlated, smallest_cosine

pytestmark = pytest.mark.backend_free


@pytest.fixture(scope="module")
def digits():
    return load_digits().data


def assert_equals_sklearn(basis, x, rank, whiten=False):
    reference = PCA(rank, whiten=whiten, svd_solver="full").fit(x)
    expected = reference.components_.T
    if whiten:
        expected = expected / np.sqrt(reference.explained_variance_)
    signs = np.sign(np.sum(expected * basis.matrix, axis=0))
    scale = np.linalg.norm(expected, axis=0)
    np.testing.assert_allclose(basis.matrix / scale, expected * signs / scale, atol=1e-4)
    np.testing.assert_allclose(basis.spectrum, reference.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(
        basis.explained_variance_ratio, reference.explained_variance_ratio_, rtol=1e-5
    )
    np.testing.assert_allclose(basis.mean, reference.mean_, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("n", [600, 25])
def test_against_sklearn(rng, n, whiten):
    x = correlated(rng, n, 40, mean=rng.normal(size=40), decay=1.5)
    for source in (x, Moments.from_data(x, batch_size=17)):
        basis = pca(source, 12, whiten=whiten)
        assert_equals_sklearn(basis, x, 12, whiten)
        assert basis.kind == ("pca_whitened" if whiten else "pca")
        assert basis.n_samples == n
        np.testing.assert_allclose(basis.total_variance, x.var(axis=0, ddof=1).sum(), rtol=1e-5)


def test_digits_with_their_constant_pixels(digits):
    basis = pca(digits)
    assert basis.rank == 64
    assert_orthonormal(basis.matrix)
    reference = PCA().fit(digits)
    np.testing.assert_allclose(basis.spectrum, reference.explained_variance_, atol=1e-4)
    assert smallest_cosine(basis.matrix[:, :30], reference.components_[:30].T) > 0.99999


def test_uint8_images(digits):
    x = digits.astype(np.uint8)
    np.testing.assert_allclose(pca(x, 5).matrix, pca(digits, 5).matrix, atol=1e-4)


def test_variances_are_those_of_the_projections(digits):
    for whiten in (False, True):
        basis = pca(digits, 10, whiten=whiten)
        z = (digits - digits.mean(0)) @ basis.matrix.astype(np.float64)
        np.testing.assert_allclose(z.var(axis=0, ddof=1), basis.variances, rtol=1e-4)
        np.testing.assert_allclose(np.corrcoef(z.T), np.eye(10), atol=1e-4)
    np.testing.assert_array_equal(basis.variances, 1)


def test_labels_in_the_data_are_ignored(digits):
    one_hot = np.eye(3)[np.arange(len(digits)) % 3]
    expected = pca(digits, 3).matrix
    np.testing.assert_array_equal(pca((digits, one_hot), 3).matrix, expected)
    np.testing.assert_array_equal(pca([(digits, one_hot)], 3).spectrum, pca([digits], 3).spectrum)


def test_the_largest_entry_of_a_column_is_positive(digits):
    matrix = pca(digits, 20).matrix
    assert np.all(matrix.max(axis=0) >= 0.999 * np.abs(matrix).max(axis=0))
    np.testing.assert_allclose(pca(16 - digits, 20).matrix, matrix, atol=1e-4)


@pytest.mark.parametrize(("shape", "expected"), [((50, 8), 8), ((6, 8), 5), ((2, 8), 1)])
def test_default_rank(rng, shape, expected):
    x = rng.normal(size=shape)
    assert pca(x).rank == expected
    assert pca(Moments.from_data(x)).rank == expected


def test_few_samples_go_through_the_gram_matrix(rng, monkeypatch):
    x = correlated(rng, 30, 200, mean=5.0)
    expected = pca(Moments.from_data(x), 20)

    def never(*args, **kwargs):
        raise AssertionError("the covariance was formed")

    monkeypatch.setattr("keras_sac.bases._pca.as_moments", never)
    monkeypatch.setattr("keras_sac.bases._pca._COLUMNS", 64)
    for data in (x, x.reshape(5, 6, 200), (x, np.zeros(30))):
        basis = pca(data, 20)
        assert_orthonormal(basis.matrix)
        assert smallest_cosine(basis.matrix, expected.matrix) > 0.99999
        np.testing.assert_allclose(basis.spectrum, expected.spectrum, rtol=1e-5)
        np.testing.assert_allclose(basis.mean, expected.mean, atol=1e-6)
        np.testing.assert_allclose(basis.total_variance, expected.total_variance, rtol=1e-6)


@pytest.mark.parametrize("through", [lambda x: x, Moments.from_data])
def test_more_columns_than_the_data_have_directions(rng, through):
    x = rng.normal(size=(6, 3)) @ rng.normal(size=(3, 12))
    basis = pca(through(x), 12)
    assert_orthonormal(basis.matrix)
    np.testing.assert_allclose(basis.explained_variance_ratio[:3].sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(basis.variances[3:], 0, atol=1e-5)
    z = (x - x.mean(0)) @ basis.matrix[:, :3].astype(np.float64)
    np.testing.assert_allclose(z @ basis.matrix[:, :3].T, x - x.mean(0), atol=1e-5)


@pytest.mark.parametrize("n", [5, 50])
def test_constant_data(n):
    basis = pca(np.full((n, 10), 3.0), 4)
    assert_orthonormal(basis.matrix)
    assert basis.variances.tolist() == basis.explained_variance_ratio.tolist() == [0.0] * 4
    assert basis.total_variance == 0
    np.testing.assert_array_equal(basis.mean, 3)


@pytest.mark.parametrize("n", [200, 11])
def test_whitening_refuses_directions_without_variance(rng, n):
    x = rng.normal(size=(n, 12))
    x[:, 3] = 1.0
    x[:, 5] = x[:, 4] - x[:, 6]
    assert pca(x, 10, whiten=True).rank == 10
    with pytest.raises(ValueError, match="all 11 columns.*along 10.*rank <= 10, or whiten=False"):
        pca(x, 11, whiten=True)
    with pytest.raises(ValueError, match="Use data that vary"):
        pca(np.ones((n, 12)), 2, whiten=True)


def test_a_large_mean_is_no_component(rng):
    x = correlated(rng, 500, 16)
    far = (x + 1000 * np.ones(16)).astype(np.float32)
    assert smallest_cosine(pca(far, 5).matrix, pca(x, 5).matrix) > 0.9999


@pytest.mark.parametrize("rank", [0, -2, 9, 2.5, "3", True])
@pytest.mark.parametrize("n", [40, 4])
def test_refuses_a_rank(rng, rank, n):
    x = rng.normal(size=(n, 8))
    for data in (x, Moments.from_data(x), (x, np.zeros(n)), [x]):
        with pytest.raises(ValueError, match="`rank` must be"):
            pca(data, rank)


def test_a_wrong_rank_is_refused_before_the_data_are_read():
    class Unreadable:
        shape, dtype = (100, 8), np.dtype(np.float32)

        def __getitem__(self, key):
            raise AssertionError("the data were read")

    with pytest.raises(ValueError, match="1 and 8 .the number of features.. Received: rank=9"):
        pca(Unreadable(), 9)


@pytest.mark.parametrize("n", [40, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_data_that_are_not_finite(rng, n, value):
    x = rng.normal(size=(n, 8))
    x[2, 6] = value
    with pytest.raises(ValueError, match=f"first bad column is 6, where sample 2 is {value}"):
        pca(x, 2)


def test_refuses_other_data():
    with pytest.raises(ValueError, match="at least two samples. Received: 1"):
        pca(np.ones((1, 4)), 1)
    with pytest.raises(ValueError, match="seen no samples"):
        pca(Moments(), 1)
    with pytest.raises(ValueError, match="real numbers"):
        pca(np.full((3, 4), "a"), 1)
    with pytest.raises(ValueError, match="no samples"):
        pca([], 1)
    for width in (3, 30):
        with pytest.raises(ValueError, match="9 labels for 10 samples"):
            pca((np.ones((10, width)), np.arange(9)), 1)


@pytest.mark.parametrize("make", [pca, lda, lda_pca])
def test_a_fraction_as_rank_points_to_choose_rank(rng, make):
    x = rng.normal(size=(30, 4))
    with pytest.raises(ValueError, match=r"rank=0\.95.*choose_rank\(.*explained_variance=0\.95\)"):
        make(x, rank=0.95) if make is pca else make(x, np.arange(30) % 3, rank=0.95)


@pytest.mark.parametrize("samples", [178, 10])
def test_one_feature_of_another_unit_is_named(rng, samples):
    x = rng.normal(size=(samples, 13))
    x[:, 12] *= 100
    with pytest.warns(UserWarning, match=r"Feature 12 of 13 holds 99\.\d% .*scale them first"):
        basis = pca(x, 2)
    assert np.argmax(np.abs(basis.matrix[:, 0])) == 12
    # Scaled, or with all columns, there is nothing to warn of.
    pca(x / x.std(axis=0), 2)
    pca(rng.normal(size=(30, 3)) * [1, 1, 100], 3)
    pca(np.ones((30, 3)), 2)


def test_a_wide_data_frame_is_solved_as_an_array(rng):
    x = rng.normal(size=(10, 40))
    frame = pd.DataFrame(x).astype({0: "Float64"})
    np.testing.assert_allclose(pca(frame, 3).matrix, pca(x, 3).matrix, atol=1e-6)
