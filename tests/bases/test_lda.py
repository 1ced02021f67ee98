import numpy as np
import pytest
import scipy.linalg
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from keras_sac.bases import Moments, lda, lda_pca
from tests.bases.correlated_data import assert_orthonormal, clusters, correlated, smallest_cosine

pytestmark = pytest.mark.backend_free


@pytest.fixture
def data(rng):
    return clusters(rng, 800, 15, 5)


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def scatters(x, y):
    """Within-class and between-class scatter by their definitions."""
    within, between = np.zeros((2, x.shape[1], x.shape[1]))
    for c in np.unique(y):
        part = x[y == c]
        centered = part - part.mean(0)
        within += centered.T @ centered / len(x)
        offset = part.mean(0) - x.mean(0)
        between += len(part) / len(x) * np.outer(offset, offset)
    return within, between


@pytest.mark.parametrize("solver", ["svd", "eigen"])
def test_spans_what_sklearn_spans(data, solver):
    x, y = data
    reference = LinearDiscriminantAnalysis(solver=solver).fit(x, y).scalings_
    basis = lda(x, y)
    assert basis.rank == 4
    assert_orthonormal(basis.matrix)
    for rank in (1, 2, 4):
        assert smallest_cosine(basis.matrix[:, :rank], reference[:, :rank]) > 1 - 1e-6
        np.testing.assert_array_equal(lda(x, y, rank).matrix, basis.matrix[:, :rank])


@pytest.mark.parametrize("shrinkage", [0.0, 0.05, 0.5, 1.0])
def test_shrinkage_against_the_generalized_eigenproblem(data, shrinkage):
    x, y = data
    within, between = scatters(x, y)
    within = (1 - shrinkage) * within + shrinkage * np.trace(within) / 15 * np.eye(15)
    ratios, vectors = scipy.linalg.eigh(between, within)
    basis = lda(x, y, shrinkage=shrinkage)
    np.testing.assert_allclose(basis.spectrum, ratios[::-1][:4], rtol=1e-4)
    for rank in (1, 3, 4):
        expected = vectors[:, ::-1][:, :rank]
        assert smallest_cosine(basis.matrix[:, :rank], expected) > 1 - 1e-6


def test_shrinkage_spans_what_sklearn_decides_by(data):
    x, y = data
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(x, y)
    directions = (reference.coef_[1:] - reference.coef_[0]).T
    assert smallest_cosine(lda(x, y, shrinkage=0.3).matrix, directions) > 1 - 1e-6


def test_of_real_digits_with_constant_pixels(digits):
    x, y = digits
    reference = LinearDiscriminantAnalysis().fit(x, y).scalings_
    basis = lda(x, y)
    assert basis.rank == 9
    assert smallest_cosine(basis.matrix, reference) > 0.999
    assert np.abs(basis.matrix[x.std(axis=0) == 0]).max() < 1e-6


def test_statistics(data):
    x, y = data
    basis = lda(x, y, 3)
    z = x @ basis.matrix.astype(np.float64)
    np.testing.assert_allclose(basis.variances, z.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(basis.total_variance, x.var(axis=0, ddof=1).sum(), rtol=1e-5)
    np.testing.assert_allclose(basis.mean, x.mean(0), atol=1e-6)
    assert (basis.kind, basis.n_samples) == ("lda", 800)
    assert np.all(np.diff(basis.spectrum) < 0)


def test_moments_and_data_give_the_same(data):
    x, y = data
    expected = lda(x, y).matrix
    moments = Moments.from_data(x[:300], y[:300]).merge(Moments.from_data(x[300:], y[300:]))
    np.testing.assert_allclose(lda(moments).matrix, expected, atol=1e-4)
    np.testing.assert_allclose(lda((x, y)).matrix, expected, atol=1e-4)
    batches = ((x[i : i + 90], y[i : i + 90]) for i in range(0, 800, 90))
    np.testing.assert_allclose(lda(batches).matrix, expected, atol=1e-4)
    np.testing.assert_allclose(lda(x, np.array(list("abcde"))[y]).matrix, expected, atol=1e-4)


def test_two_classes_have_one_direction(rng):
    x, y = clusters(rng, 300, 6, 2)
    within, _ = scatters(x, y)
    direction = np.linalg.solve(within, x[y == 1].mean(0) - x[y == 0].mean(0))
    basis = lda(x, y)
    assert basis.rank == 1
    assert smallest_cosine(basis.matrix, direction[:, None]) > 1 - 1e-6


def test_a_perfect_feature_wins(rng):
    x = correlated(rng, 200, 10)
    y = np.arange(200) % 3
    x[:, 4] = y == 1
    basis = lda(x, y, 1)
    assert np.argmax(np.abs(basis.matrix[:, 0])) == 4
    assert basis.spectrum[0] > 1e3


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_fewer_samples_than_features(rng, scale):
    means = rng.normal(size=(3, 40))
    y = np.arange(24) % 3
    x = (means[y] + 0.1 * rng.normal(size=(24, 40))) * scale
    basis = lda(x, y)
    assert_orthonormal(basis.matrix)
    z = (x - x.mean(0)) @ basis.matrix.astype(np.float64)
    within, between = scatters(z, y)
    assert np.trace(between) > 100 * np.trace(within)


def test_fewer_features_than_classes(rng):
    x, y = clusters(rng, 300, 2, 5)
    assert lda(x, y).rank == 2
    assert smallest_cosine(lda(x, y).matrix, np.eye(2)) > 1 - 1e-6


def test_class_means_on_a_line_give_one_direction(rng):
    y = np.repeat(np.arange(4), 60)
    noise = rng.normal(size=(60, 5))
    # Equal noise in each class: the class means differ along the first axis only.
    x = np.concatenate([noise] * 4) + np.outer(y, np.eye(5)[0])
    assert lda(x, y).rank == 1
    with pytest.raises(ValueError, match="in which the class means differ.. Received: rank=2"):
        lda(x, y, 2)


def test_lda_pca_against_its_definition(data):
    x, y = data
    basis = lda_pca(x, y, 9)
    assert_orthonormal(basis.matrix)
    first = lda(x, y)
    np.testing.assert_array_equal(basis.matrix[:, :4], first.matrix)
    q = first.matrix.astype(np.float64)
    rest = np.eye(15) - q @ q.T
    values, vectors = np.linalg.eigh(rest @ np.cov(x.T) @ rest)
    np.testing.assert_allclose(basis.spectrum[:4], first.spectrum)
    np.testing.assert_allclose(basis.spectrum[4:], values[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(basis.variances[4:], values[::-1][:5], rtol=1e-4)
    assert smallest_cosine(basis.matrix[:, 4:], vectors[:, ::-1][:, :5]) > 1 - 1e-6
    assert basis.kind == "lda_pca"


@pytest.mark.parametrize(("n", "expected"), [(800, 15), (9, 8)])
def test_lda_pca_of_default_rank(rng, n, expected):
    x, y = clusters(rng, n, 15, 3)
    basis = lda_pca(x, y)
    assert basis.rank == expected
    assert_orthonormal(basis.matrix)


def test_lda_pca_of_full_rank_and_dependent_features(digits):
    x, y = digits
    basis = lda_pca(x, y, 64)
    assert_orthonormal(basis.matrix)
    np.testing.assert_allclose(basis.explained_variance_ratio.sum(), 1, rtol=1e-6)


def test_lda_pca_of_low_rank_is_lda(data):
    x, y = data
    np.testing.assert_array_equal(lda_pca(x, y, 2).matrix, lda(x, y, 2).matrix)
    np.testing.assert_array_equal(
        lda_pca(Moments.from_data(x, y), rank=2).matrix, lda(x, y, 2).matrix
    )


@pytest.mark.parametrize("make", [lda, lda_pca])
def test_refusals_of_both(make, data):
    x, y = data
    with pytest.raises(ValueError, match="needs labels"):
        make(x)
    with pytest.raises(ValueError, match="needs labels"):
        make(Moments.from_data(x))
    with pytest.raises(ValueError, match="at least two classes. Received: 800 labels, all 3"):
        make(x, np.full(800, 3))
    with pytest.raises(ValueError, match="`labels` must be None if `data` is `Moments`"):
        make(Moments.from_data(x, y), y)
    with pytest.raises(ValueError, match="799 labels for 800 samples"):
        make(x, y[:-1])
    with pytest.raises(ValueError, match="one-hot"):
        make(x, np.eye(5)[y])
    with pytest.raises(ValueError, match="2 classes whose means coincide"):
        make(np.concatenate([x, x]), np.repeat([0, 1], 800))
    with pytest.raises(ValueError, match="coincide"):
        make(np.ones((10, 3)), np.arange(10) % 2)
    for rank in (0, -1, 2.5, "4"):
        with pytest.raises(ValueError, match="`rank` must be"):
            make(x, y, rank)
    for shrinkage in (-0.1, 1.1, np.nan, "auto", True):
        with pytest.raises(ValueError, match="`shrinkage` must be"):
            make(x, y, shrinkage=shrinkage)
    x = x.copy()
    x[5, 3] = np.nan
    with pytest.raises(ValueError, match="first bad column is 3"):
        make(x, y)


def test_rank_above_classes_less_one(data):
    x, y = data
    with pytest.raises(
        ValueError, match="1 and 4 .`n_classes - 1`.. Received: rank=5.*`bases.lda_pca`"
    ):
        lda(x, y, 5)
    with pytest.raises(ValueError, match="1 and 15 .the number of features.. Received: rank=16"):
        lda_pca(x, y, 16)


@pytest.mark.parametrize("make", [lda, lda_pca])
def test_a_rank_in_the_place_of_the_labels(rng, make):
    x, y = clusters(rng, 60, 5, 4)
    for data in (x, Moments.from_data(x, y), (x, y)):
        with pytest.raises(ValueError, match="one class per sample.*labels=2.*`rank=2`"):
            make(data, 2)
