"""`with_statistics`: statistics of data for a basis that was made without data."""

import numpy as np
import pytest

from keras_sac import bases
from keras_sac.bases import Basis, Moments, with_statistics

pytestmark = pytest.mark.backend_free


def test_they_are_those_of_the_projections(rng):
    x = rng.normal(size=(200, 8)) @ rng.normal(size=(8, 8)) + 3
    basis = Basis(rng.normal(size=(8, 3)))
    known = with_statistics(basis, Moments.from_data(x, verbose=0))
    projections = x @ basis.matrix.astype("float64")
    np.testing.assert_allclose(known.variances, projections.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(known.mean, x.mean(axis=0), rtol=1e-5)
    assert known.total_variance == pytest.approx(x.var(axis=0, ddof=1).sum(), rel=1e-5)
    assert known.n_samples == 200
    np.testing.assert_array_equal(known.matrix, basis.matrix)


def test_a_pca_knows_them_already(rng):
    x = (rng.normal(size=(300, 6)) * np.arange(1, 7)).astype("float32")
    moments = Moments.from_data(x, verbose=0)
    basis = bases.pca(moments, rank=3)
    known = with_statistics(basis, moments)
    np.testing.assert_allclose(known.variances, basis.variances, rtol=1e-5)
    assert known.kind == "pca"


def test_seed_and_kind_stay(rng):
    basis = bases.random_orthogonal(6, 2, seed=9)
    known = with_statistics(basis, Moments.from_data(rng.normal(size=(20, 6)), verbose=0))
    assert (known.kind, known.seed) == ("random", 9)


def test_another_width(rng):
    moments = Moments.from_data(rng.normal(size=(20, 6)), verbose=0)
    with pytest.raises(ValueError, match="must have 5 features.*6 features"):
        with_statistics(Basis(np.eye(5)[:, :2]), moments)


def test_a_matrix_and_data_as_they_are(rng):
    x = rng.normal(size=(50, 6))
    matrix = rng.normal(size=(6, 2))
    found = with_statistics(matrix, x, verbose=0)
    known = with_statistics(Basis(matrix), Moments.from_data(x, verbose=0))
    np.testing.assert_array_equal(found.matrix, known.matrix)
    np.testing.assert_array_equal(found.variances, known.variances)
    assert found.kind == "custom"
    batches = ((x[i : i + 10], np.zeros(10)) for i in range(0, 50, 10))
    np.testing.assert_allclose(with_statistics(matrix, batches).mean, known.mean, atol=1e-6)
