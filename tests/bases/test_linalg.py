import numpy as np
import pytest

from keras_sac.bases import _linalg
from tests.bases.correlated_data import assert_orthonormal, smallest_cosine

pytestmark = pytest.mark.backend_free


def symmetric(rng, values):
    frame = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    return (frame * values) @ frame.T, frame


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_leading_eigenpairs_of_a_small_matrix(rng, rank):
    values = np.arange(40, 0, -1.0) ** 2
    matrix, frame = symmetric(rng, values)
    before = matrix.copy()
    found, vectors = _linalg.leading_eigenpairs(matrix, rank)
    np.testing.assert_allclose(found, values[:rank], rtol=1e-10)
    np.testing.assert_allclose(np.abs(np.sum(vectors * frame[:, :rank], axis=0)), 1, rtol=1e-10)
    np.testing.assert_array_equal(matrix, before)


def test_large_matrices_are_solved_in_mixed_precision(rng, monkeypatch):
    monkeypatch.setattr(_linalg, "_MIXED_FROM", 100)
    values = 1e3 / np.arange(1, 201) ** 1.5
    matrix, frame = symmetric(rng, values)
    types = []
    solve = _linalg._eigenpairs
    monkeypatch.setattr(
        _linalg, "_eigenpairs", lambda m, k: types.append(m.dtype.name) or solve(m, k)
    )
    found, vectors = _linalg.leading_eigenpairs(matrix, 30)
    assert types == ["float32"]
    np.testing.assert_allclose(found, values[:30], rtol=1e-8)
    assert smallest_cosine(vectors, frame[:, :30]) > 1 - 1e-8
    assert_orthonormal(vectors, atol=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        # The last column wanted and the next one: equal, almost equal, and below single precision.
        np.r_[np.full(30, 2.0), np.full(170, 1.0)] + np.r_[np.zeros(29), -1, np.zeros(170)],
        np.r_[np.full(29, 2.0), 1 + 1e-8, np.full(170, 1.0)],
        np.r_[1e8, np.arange(199, 0, -1.0)],
    ],
)
def test_where_single_precision_does_not_do_double_is_used(rng, monkeypatch, values):
    monkeypatch.setattr(_linalg, "_MIXED_FROM", 100)
    matrix, _ = symmetric(rng, values)
    found, vectors = _linalg.leading_eigenpairs(matrix, 30)
    np.testing.assert_allclose(found, values[:30], rtol=1e-8)
    np.testing.assert_allclose(matrix @ vectors, vectors * found, atol=1e-9 * values[0])
    assert_orthonormal(vectors, atol=1e-12)


@pytest.mark.parametrize("mixed_from", [100, 1000])
@pytest.mark.parametrize("rank", [1, 5, 30, 45])
def test_none_of_equal_eigenvalues_is_lost(monkeypatch, rank, mixed_from):
    # Bisection loses some for about one matrix in ten; which ones depends on the processor.
    monkeypatch.setattr(_linalg, "_MIXED_FROM", mixed_from)
    for seed in range(12):
        values = np.r_[np.full(seed, 2.0), np.ones(200 - seed)]
        matrix, _ = symmetric(np.random.default_rng(seed), values)
        found, vectors = _linalg.leading_eigenpairs(matrix, rank)
        np.testing.assert_allclose(found, values[:rank], rtol=1e-8)
        np.testing.assert_allclose(matrix @ vectors, vectors * found, atol=1e-8)
        assert_orthonormal(vectors, atol=1e-12)


def test_where_bisection_fails_the_whole_spectrum_is_solved(rng, monkeypatch):
    values = np.arange(40, 0, -1.0)
    matrix, frame = symmetric(rng, values)
    solve = _linalg._eigenpairs
    monkeypatch.setattr(
        _linalg, "_eigenpairs", lambda m, k: tuple(part[..., :-1] for part in solve(m, k))
    )
    found, vectors = _linalg.leading_eigenpairs(matrix, 5)
    np.testing.assert_allclose(found, values[:5], rtol=1e-10)
    assert smallest_cosine(vectors, frame[:, :5]) > 1 - 1e-10


def test_a_zero_matrix(monkeypatch):
    monkeypatch.setattr(_linalg, "_MIXED_FROM", 10)
    found, vectors = _linalg.leading_eigenpairs(np.zeros((20, 20)), 3)
    assert found.tolist() == [0, 0, 0]
    assert_orthonormal(vectors)


def test_signs_are_those_of_the_largest_entry():
    vectors = np.array([[0.1, 0.6, 0.0], [-0.9, 0.7, 0.0], [0.3, -0.2, 0.0]])
    expected = np.array([[-0.1, 0.6, 0.0], [0.9, 0.7, 0.0], [-0.3, -0.2, 0.0]])
    np.testing.assert_array_equal(_linalg.fix_signs(vectors), expected)
    np.testing.assert_array_equal(_linalg.fix_signs(-vectors), expected)


def test_signs_do_not_hang_on_rounding():
    # An antisymmetric vector has two largest entries; rounding decides which is the larger.
    for bump in (-1e-12, 0.0, 1e-12):
        vector = np.array([[-0.5 + bump], [0.1], [0.5]])
        assert _linalg.fix_signs(vector)[0, 0] > 0


@pytest.mark.parametrize("have", [0, 1, 5])
def test_complete(rng, have):
    vectors = np.linalg.qr(rng.normal(size=(8, 8)))[0][:, :have]
    full = _linalg.complete(vectors, 8)
    assert_orthonormal(full, atol=1e-13)
    np.testing.assert_array_equal(full[:, :have], vectors)
    np.testing.assert_array_equal(full, _linalg.complete(vectors, 8))
    assert _linalg.complete(full, 3) is full


@pytest.mark.parametrize("n", [0, 1, 5, 8, 21])
def test_from_lower(rng, monkeypatch, n):
    monkeypatch.setattr(_linalg, "_BLOCK", 8)
    matrix = rng.normal(size=(n, n))
    lower = np.tril(matrix)
    np.testing.assert_array_equal(_linalg.from_lower(matrix), lower + np.tril(lower, -1).T)
