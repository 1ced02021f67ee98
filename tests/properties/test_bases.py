"""Properties of the bases for all data, drawn by hypothesis."""

import itertools
import tempfile

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_sac.bases import Basis, Moments, dct, lda, lda_pca, pca, random_orthogonal
from tests.bases.correlated_data import assert_orthonormal, smallest_cosine

pytestmark = pytest.mark.backend_free


@st.composite
def data_sets(draw, min_samples=2, min_width=1):
    """Correlated data of any shape, mean and scale, with labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(min_samples, 60))
    width = draw(st.integers(min_width, 20))
    mean = draw(st.sampled_from([0.0, 1.0, -300.0]))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    mixing = rng.normal(size=(width, width)) * np.arange(1, width + 1) ** -0.5
    x = scale * (rng.normal(size=(n, width)) @ mixing + mean * rng.normal(size=width))
    return x, rng.integers(0, draw(st.integers(1, 5)), size=n)


@st.composite
def splits(draw, n):
    """Boundaries that cut `n` samples into parts, none of them empty."""
    cuts = draw(st.sets(st.integers(1, n - 1), max_size=5)) if n > 1 else set()
    return [0, *sorted(cuts), n]


def assert_close(a: Moments, b: Moments):
    scale = np.sqrt(np.abs(b.covariance).max()) + 1e-12
    assert a.count == b.count
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-6, atol=1e-5 * scale)
    np.testing.assert_allclose(a.covariance, b.covariance, atol=2e-5 * scale**2)
    if b.classes is not None:
        np.testing.assert_array_equal(a.classes, b.classes)
        np.testing.assert_array_equal(a.class_counts, b.class_counts)
        np.testing.assert_allclose(a.class_means, b.class_means, rtol=1e-6, atol=1e-5 * scale)


@given(st.data())
def test_any_split_into_batches_gives_the_same_moments(data):
    x, y = data.draw(data_sets())
    ends = data.draw(splits(len(x)))
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    assert_close(Moments.from_data([(x[p], y[p]) for p in parts]), Moments.from_data(x, y))


@given(st.data())
def test_merge_is_concatenation_in_any_order(data):
    x, y = data.draw(data_sets())
    ends = data.draw(splits(len(x)))
    parts = [Moments.from_data(x[a:b], y[a:b]) for a, b in itertools.pairwise(ends)]
    merged = Moments()
    for part in data.draw(st.permutations(parts)):
        merged.merge(part)
    assert_close(merged, Moments.from_data(x, y))


@given(data_sets())
def test_moments_equal_numpy(drawn):
    x, _ = drawn
    moments = Moments.from_data(x)
    cov = np.atleast_2d(np.cov(x.T))
    np.testing.assert_allclose(moments.covariance, cov, atol=1e-5 * np.abs(cov).max())
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-6, atol=1e-6 * np.abs(x).max())


@given(data_sets(), st.sampled_from([-50.0, 3.0, 4096.0]))
def test_a_translation_moves_the_mean_alone(drawn, offset):
    x, y = drawn
    shift = offset * x.std()
    here, there = Moments.from_data(x, y), Moments.from_data(x + shift, y)
    np.testing.assert_allclose(
        there.covariance, here.covariance, atol=1e-5 * np.abs(here.covariance).max()
    )
    np.testing.assert_allclose(there.mean - shift, here.mean, atol=1e-5 * np.abs(x + shift).max())
    assert there.total_variance == pytest.approx(here.total_variance, rel=1e-4)


@given(st.data())
def test_pca_is_orthonormal_ordered_and_nested(data):
    x, _ = data.draw(data_sets())
    rank = data.draw(st.integers(1, x.shape[1]))
    basis = pca(x, rank)
    assert_orthonormal(basis.matrix, atol=2e-6)
    assert np.all(np.diff(basis.spectrum) <= 0)
    assert np.all(basis.spectrum >= 0)
    assert basis.explained_variance_ratio.sum() <= 1 + 1e-6
    kept = data.draw(st.integers(1, rank))
    np.testing.assert_array_equal(basis.truncate(kept).matrix, basis.matrix[:, :kept])
    np.testing.assert_allclose(
        pca(x, kept).spectrum, basis.spectrum[:kept], rtol=1e-5, atol=1e-6 * basis.spectrum[0]
    )


@given(data_sets(min_samples=3, min_width=2))
def test_no_basis_of_the_same_rank_keeps_more_variance(drawn):
    x, _ = drawn
    rank = max(1, x.shape[1] // 2)
    basis = pca(x, rank)
    cov = np.cov(x.T)
    other = random_orthogonal(x.shape[1], rank, seed=1).matrix.astype(np.float64)
    assert basis.spectrum.sum() >= np.trace(other.T @ cov @ other) * (1 - 1e-6)


@given(data_sets(), st.randoms(use_true_random=False))
def test_signs_do_not_depend_on_the_order_of_the_samples(drawn, random):
    x, _ = drawn
    shuffled = x[random.sample(range(len(x)), len(x))]
    basis = pca(x)
    values = basis.spectrum
    gaps = np.abs(np.diff(np.r_[values, 0.0]))
    # Where eigenvalues almost tie, the vectors themselves are not determined.
    assume(np.all(np.minimum(gaps, np.r_[np.inf, gaps[:-1]]) > 1e-2 * values[0]))
    ordered = np.sort(np.abs(basis.matrix), axis=0)
    assume(x.shape[1] < 2 or np.all(ordered[-2] < 0.99 * ordered[-1]))
    np.testing.assert_allclose(pca(shuffled).matrix, basis.matrix, atol=1e-2)
    assert np.all(np.sum(pca(shuffled).matrix * basis.matrix, axis=0) > 0.99)


@given(data_sets(min_samples=10))
def test_whitened_projections_are_uncorrelated_with_variance_one(drawn):
    x, _ = drawn
    full = pca(x)
    rank = int(np.count_nonzero(full.spectrum > 1e-3 * full.spectrum[0]))
    basis = pca(x, rank, whiten=True)
    z = (x - x.mean(0)) @ basis.matrix.astype(np.float64)
    np.testing.assert_allclose(np.cov(z.T), np.eye(rank) if rank > 1 else 1.0, atol=5e-3)
    np.testing.assert_allclose(
        basis.explained_variance_ratio, full.explained_variance_ratio[:rank], rtol=1e-3
    )


@given(data_sets(min_samples=30))
def test_lda_is_orthonormal_and_does_not_move_with_the_data(drawn):
    x, y = drawn
    assume(len(np.unique(y)) > 1)
    basis = lda(x, y, shrinkage=0.1)
    assert_orthonormal(basis.matrix, atol=2e-6)
    assert basis.rank <= len(np.unique(y)) - 1
    moved = lda(x * 4 + x.std(), y, shrinkage=0.1)
    assert smallest_cosine(basis.matrix, moved.matrix) > 1 - 1e-4


@given(data_sets(min_samples=30))
def test_lda_pca_contains_lda_and_completes_it(drawn):
    x, y = drawn
    assume(len(np.unique(y)) > 1)
    width = x.shape[1]
    basis = lda_pca(x, y, width)
    assert_orthonormal(basis.matrix, atol=2e-6)
    np.testing.assert_allclose(basis.explained_variance_ratio.sum(), 1, rtol=1e-4)
    first = lda(x, y)
    np.testing.assert_array_equal(basis.matrix[:, : first.rank], first.matrix)


@given(st.integers(1, 40), st.integers(0, 2**63), st.data())
def test_random_bases_are_orthonormal_and_reproducible(in_dim, seed, data):
    rank = data.draw(st.integers(1, in_dim))
    basis = random_orthogonal(in_dim, rank, seed)
    assert_orthonormal(basis.matrix, atol=2e-6)
    np.testing.assert_array_equal(random_orthogonal(in_dim, rank, basis.seed).matrix, basis.matrix)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_cosines_are_orthonormal_and_nested(shape, data):
    size = int(np.prod(shape))
    rank = data.draw(st.integers(1, size))
    basis = dct(shape, rank)
    assert_orthonormal(basis.matrix, atol=2e-6)
    np.testing.assert_array_equal(dct(shape, size).matrix[:, :rank], basis.matrix)


@given(data_sets())
def test_a_saved_basis_is_the_same(drawn):
    x, _ = drawn
    basis = pca(x)
    with tempfile.TemporaryDirectory() as folder:
        basis.save(f"{folder}/basis.npz")
        loaded = Basis.load(f"{folder}/basis.npz")
    np.testing.assert_array_equal(loaded.matrix, basis.matrix)
    np.testing.assert_array_equal(loaded.spectrum, basis.spectrum)
    assert (loaded.total_variance, loaded.kind) == (basis.total_variance, basis.kind)
