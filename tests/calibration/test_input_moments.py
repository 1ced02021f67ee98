"""Moments of rows and their sketch."""

import numpy as np
import pytest

from keras_sac.bases import Moments
from keras_sac.calibration import LinearFit
from keras_sac.calibration._input_moments import RowSketch, Scatter

pytestmark = pytest.mark.backend_free


@pytest.fixture
def rows(rng):
    return rng.normal(size=(500, 40)) @ rng.normal(size=(40, 40)) / 6 + 3 * rng.normal(size=40)


def test_a_sketch_of_batches_is_near_the_matrix(rows):
    exact = Scatter(Moments().update(rows)).matrix
    errors = {}
    for size in (100, 1600):
        sketch = RowSketch(size)
        for start in range(0, 500, 60):
            sketch.update(rows[start : start + 60])
        assert sketch.count == 500
        np.testing.assert_allclose(sketch.mean, rows.mean(axis=0), atol=1e-10)
        found = Scatter(sketch).matrix
        errors[size] = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert errors[1600] < 0.2
    # The error falls with the root of the size.
    assert errors[1600] < errors[100] / 2.5


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("sketched", [False, True])
def test_every_way_to_ask_for_the_matrix(centered, sketched, rows):
    source = (RowSketch(30) if sketched else Moments()).update(rows)
    columns = slice(5, 25)
    scatter = Scatter(source, columns, centered=centered).regularized()
    matrix = scatter.matrix
    if not sketched:
        part = rows[:, columns] - (rows[:, columns].mean(axis=0) if centered else 0)
        expected = part.T @ part / 500
        ridge = max(1e-3, 0.2 * 20 / 500) * np.trace(expected) / 20
        np.testing.assert_allclose(matrix, expected + ridge * np.eye(20), atol=1e-6)
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(scatter.times(vectors), matrix @ vectors, atol=1e-8)
    np.testing.assert_allclose(scatter.diagonal(), np.diag(matrix), atol=1e-10)
    np.testing.assert_allclose(matrix @ scatter.solve(vectors), vectors, atol=1e-8)
    np.testing.assert_allclose(
        scatter.inverse_diagonal(), np.diag(np.linalg.inv(matrix)), rtol=1e-6
    )
    order = np.random.default_rng(1).permutation(20)
    blocks = [matrix[np.ix_(b, b)] for b in order.reshape(-1, 5)]
    np.testing.assert_allclose(scatter.mean_block(order, 5), np.mean(blocks, axis=0), atol=1e-8)
    plain = Scatter(source, columns, centered=centered)
    whole = Scatter(source, centered=centered).matrix
    np.testing.assert_allclose(plain.with_columns(slice(0, 4)), whole[columns, :4], atol=1e-8)
    # The matrix without the ridge is another one.
    assert not np.allclose(plain.matrix, matrix)


@pytest.mark.parametrize("sketched", [False, True])
def test_error_and_bias_of_a_kernel(sketched, rows, rng):
    kernel, other = rng.normal(size=(2, 40, 6))
    source = (RowSketch(50) if sketched else Moments()).update(rows)
    fit = LinearFit.of_kernel(source, kernel)
    errors = rows @ (kernel - other)
    bias = fit.bias(other)
    np.testing.assert_allclose(bias, errors.mean(axis=0), atol=1e-8)
    if not sketched:
        lost = np.square(errors - bias).sum(axis=1).mean()
        assert fit.error(other) == pytest.approx(lost, rel=1e-6)
        metric = rng.normal(size=(6, 6))
        metric = metric @ metric.T
        weighted = np.einsum("nu,uv,nv->n", errors - bias, metric, errors - bias).mean()
        assert fit.error(other, metric) == pytest.approx(weighted, rel=1e-6)
    assert fit.error(kernel) <= 1e-9 * fit.energy
    regular = fit.regularized(kernel)
    assert regular.solution() is kernel
    assert regular.error(kernel) <= 1e-9 * regular.energy


def test_one_row_and_no_variance():
    for x in (np.arange(6.0)[None], np.ones((4, 6)), np.zeros((4, 6))):
        for source in (Moments().update(x), RowSketch(3).update(x)):
            scatter = Scatter(source).regularized()
            assert scatter.added > 0
            assert np.isfinite(scatter.solve(np.eye(6))).all()
