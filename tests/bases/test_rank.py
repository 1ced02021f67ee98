import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA

from keras_sac.bases import Basis, Moments, choose_rank, lda, pca
from keras_sac.bases._marchenko_pastur import hard_threshold
from keras_sac.bases._minka import log_evidence
from tests.bases.correlated_data import correlated

pytestmark = pytest.mark.backend_free


def low_rank(rng, n, in_dim, rank, noise=0.1):
    signal = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, in_dim))
    return signal + noise * rng.normal(size=(n, in_dim))


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.01, 1), (0.4, 1), (0.41, 2), (0.7, 2), (0.9, 3), (0.91, 4), (1, 4)],
)
def test_explained_variance_by_hand(fraction, expected):
    assert choose_rank([4.0, 3.0, 2.0, 1.0], explained_variance=fraction) == expected


def test_explained_variance_against_sklearn(rng):
    x = correlated(rng, 400, 30, decay=2)
    for fraction in (0.5, 0.8, 0.95, 0.999):
        expected = PCA(fraction, svd_solver="full").fit(x).n_components_
        assert choose_rank(Moments.from_data(x), explained_variance=fraction) == expected
        assert choose_rank(pca(x), explained_variance=fraction) == expected
        assert choose_rank(pca(x, whiten=True), explained_variance=fraction) == expected


def test_zeros_behind_the_data_are_never_needed():
    assert choose_rank([0.1, 0.1, 0.1, 0, 0], explained_variance=1.0) == 3


def test_a_truncated_basis_knows_the_whole_variance(rng):
    x = correlated(rng, 400, 30, decay=2)
    full = choose_rank(pca(x), explained_variance=0.7)
    assert choose_rank(pca(x, 20), explained_variance=0.7) == full
    with pytest.raises(
        ValueError, match=r"at most 0\..*the 2 components of the basis keep.*higher rank"
    ):
        choose_rank(pca(x, 2), explained_variance=0.99)


@pytest.mark.parametrize("beta", [0.05, 0.25, 0.5, 0.75, 1.0])
def test_threshold_against_the_fit_of_the_paper(beta):
    # Gavish & Donoho 2014, equation 5: within 0.02 for all ratios.
    fit = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    assert abs(hard_threshold(beta) - fit) < 0.02


@pytest.mark.parametrize("shape", [(1500, 150), (1200, 600), (800, 800)])
def test_threshold_against_simulated_noise(rng, shape):
    beta = shape[1] / shape[0]
    noise = np.linalg.svd(rng.normal(size=shape) / np.sqrt(shape[0]), compute_uv=False)
    known = np.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + np.sqrt(beta**2 + 14 * beta + 1)))
    np.testing.assert_allclose(hard_threshold(beta), known / np.median(noise), rtol=5e-3)


def test_threshold_of_square_matrices():
    # 4 / √3, the title of the paper, over the square root of the median 0.6528...
    np.testing.assert_allclose(hard_threshold(1.0), 2.858, atol=1e-3)


def test_threshold_refuses_a_ratio():
    for beta in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match="`beta` must be"):
            hard_threshold(beta)


@pytest.mark.parametrize(("n", "in_dim"), [(400, 60), (61, 60), (40, 100)])
@pytest.mark.parametrize("rank", [1, 6])
def test_gavish_donoho_finds_the_rank(rng, n, in_dim, rank):
    x = low_rank(rng, n, in_dim, rank)
    moments = Moments.from_data(x)
    assert choose_rank(moments, method="gavish-donoho") == rank
    assert choose_rank(pca(x), method="gavish-donoho") == rank
    values = np.maximum(np.linalg.eigvalsh(np.cov(x.T))[::-1], 0)
    found = choose_rank(values, method="gavish-donoho", n_samples=n)
    assert found == rank


def test_gavish_donoho_of_few_samples_by_their_own_eigenvalues(rng):
    x = low_rank(rng, 30, 100, 4)
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)[:29] ** 2 / 29
    assert choose_rank(values, method="gavish-donoho", n_samples=30, in_dim=100) == 4


def test_pure_noise_keeps_one(rng):
    x = rng.normal(size=(500, 50))
    assert choose_rank(Moments.from_data(x), method="gavish-donoho") == 1


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
def test_mle_against_sklearn(load):
    x = load().data
    x = x[:, x.std(axis=0) > 0]
    expected = PCA(n_components="mle").fit(x).n_components_
    assert choose_rank(Moments.from_data(x), method="mle") == expected


@pytest.mark.parametrize("rank", [1, 5, 18])
def test_mle_against_sklearn_on_made_up_data(rng, rank):
    x = low_rank(rng, 300, 20, rank)
    expected = PCA(n_components="mle").fit(x).n_components_
    assert expected == rank
    assert choose_rank(pca(x), method="mle") == expected
    assert choose_rank(pca(x).spectrum, method="mle", n_samples=300) == rank


def test_log_evidence_term_by_term():
    values, n = np.array([9.0, 4.0, 2.0, 0.7, 0.5, 0.2]), 57
    d = len(values)
    from scipy.special import gammaln

    for k in range(1, d):
        v = values[k:].mean()
        hat = np.where(np.arange(d) < k, values, v)
        log_u = -k * np.log(2)
        for i in range(1, k + 1):
            log_u += gammaln((d - i + 1) / 2) - (d - i + 1) / 2 * np.log(np.pi)
        log_a = 0.0
        for i in range(k):
            for j in range(i + 1, d):
                log_a += np.log((1 / hat[j] - 1 / hat[i]) * (values[i] - values[j]) * n)
        m = d * k - k * (k + 1) / 2
        expected = (
            log_u
            - n / 2 * np.log(values[:k]).sum()
            - n * (d - k) / 2 * np.log(v)
            + (m + k) / 2 * np.log(2 * np.pi)
            - log_a / 2
            - k / 2 * np.log(n)
        )
        np.testing.assert_allclose(log_evidence(values, n)[k - 1], expected, rtol=1e-10)


def test_mle_of_data_without_noise(rng):
    x = low_rank(rng, 100, 10, 4, noise=0.0)
    values = np.maximum(np.linalg.eigvalsh(np.cov(x.T))[::-1], 0)
    assert choose_rank(values, method="mle", n_samples=100) == 4
    values[4:] = 0
    assert choose_rank(values, method="mle", n_samples=100) == 4


def test_mle_of_equal_eigenvalues_and_of_one():
    assert 1 <= choose_rank([2.0, 2.0, 1.0, 1.0], method="mle", n_samples=50) <= 3
    assert choose_rank([3.0], method="mle", n_samples=50) == 1


@pytest.mark.parametrize(
    ("spectrum", "options", "message"),
    [
        ([2.0, 1.0], {}, "exactly one"),
        ([2.0, 1.0], {"explained_variance": 0.5, "method": "mle"}, "exactly one"),
        (
            [2.0, 1.0],
            {"method": "elbow"},
            "`method` must be one of 'gavish-donoho', 'mle'. Received: method='elbow'",
        ),
        ([2.0, 1.0], {"explained_variance": 0.0}, "`explained_variance` must be"),
        ([2.0, 1.0], {"explained_variance": 1.01}, "`explained_variance` must be"),
        ([2.0, 1.0], {"explained_variance": np.nan}, "`explained_variance` must be"),
        ([2.0, 1.0], {"explained_variance": True}, "`explained_variance` must be"),
        ([1.0, 2.0], {"explained_variance": 0.5}, "descending.*np.sort"),
        ([1.0, -0.1], {"explained_variance": 0.5}, "not negative"),
        ([np.nan, 1.0], {"explained_variance": 0.5}, "finite"),
        ([], {"explained_variance": 0.5}, "non-empty"),
        ([[1.0]], {"explained_variance": 0.5}, r"shape \(1, 1\)"),
        (["a"], {"explained_variance": 0.5}, "1-D array of eigenvalues"),
        ([0.0, 0.0], {"explained_variance": 0.5}, "constant"),
        ([2.0, 1.0], {"method": "mle"}, "`n_samples` must be .*Received: n_samples=None"),
        (
            [2.0, 1.0],
            {"method": "gavish-donoho", "n_samples": 1},
            "`n_samples` must be .* >= 2.*Received: n_samples=1",
        ),
        ([2.0, 1.0], {"method": "mle", "n_samples": 9, "in_dim": 3}, "must hold all 3 eigenvalues"),
        ([3.0, 2.0, 1.0], {"method": "mle", "n_samples": 2}, "at least as many samples"),
    ],
)
def test_refuses(spectrum, options, message):
    with pytest.raises(ValueError, match=message):
        choose_rank(spectrum, **options)


def test_refuses_bases_without_variances(rng):
    x, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    for basis in (lda(x, y), Basis(np.eye(3))):
        with pytest.raises(ValueError, match="must hold variances.*a basis of kind"):
            choose_rank(basis, explained_variance=0.9)
    with pytest.raises(ValueError, match="all 4 eigenvalues.*rank=None"):
        choose_rank(pca(x, 2), method="gavish-donoho")
