"""Backward elimination against least squares that are solved anew."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sac.removal._greedy_elimination import Reader, eliminate

pytestmark = pytest.mark.backend_free


def reader(rng, units, size, outputs, others=0):
    width = units * size + others
    x = rng.normal(size=(4 * width, width)) @ rng.normal(size=(width, width))
    covariance = x.T @ x / len(x) + 0.1 * np.eye(width)
    places = rng.permutation(width)
    rows = [places[unit * size : (unit + 1) * size] for unit in range(units)]
    return Reader(covariance, rng.normal(size=(width, outputs)), rows)


def error(each, gone):
    """Return half of the squared error that least squares without some units make."""
    rows = np.concatenate([np.zeros(0, int), *[each.rows[unit] for unit in gone]])
    kept = np.setdiff1d(np.arange(len(each.kernel)), rows)
    cross = each.covariance @ each.kernel
    solution = np.linalg.solve(each.covariance[np.ix_(kept, kept)], cross[kept])
    return (np.trace(each.kernel.T @ cross) - np.trace(solution.T @ cross[kept])) / 2


@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 3), st.integers(0, 99))
def test_rises_are_those_of_least_squares(units, size, others, seed):
    rng = np.random.default_rng(seed)
    readers = [reader(rng, units, size, 4, others), reader(rng, units, 1, 2)]
    order, rises = eliminate(readers, units)
    assert sorted(order) == list(range(units))
    for count in range(1, units + 1):
        expected = sum(error(each, order[:count]) for each in readers)
        assert np.isclose(rises[:count].sum(), expected, rtol=1e-6, atol=1e-9)


@given(st.integers(0, 99))
def test_each_step_takes_the_cheapest_unit(seed):
    rng = np.random.default_rng(seed)
    readers = [reader(rng, 8, 2, 3)]
    order, _ = eliminate(readers, 8)
    for count in range(7):
        costs = {unit: error(readers[0], [*order[:count], unit]) for unit in order[count:].tolist()}
        assert costs[order[count]] <= min(costs.values()) + 1e-9


def test_many_units_are_close_to_one_by_one():
    """Of more units several go at once, chosen among those that cost least."""
    each = reader(np.random.default_rng(0), 200, 1, 10)
    order, rises = eliminate([each], 200)
    assert np.isclose(rises[:100].sum(), error(each, order[:100]))
    drawn = np.random.default_rng(1).permutation(200)[:100]
    assert error(each, order[:100]) < 0.8 * error(each, drawn)


def test_of_two_equal_units_one_goes_for_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6))
    x[:, 5] = x[:, 2]
    covariance = x.T @ x / 500 + 1e-9 * np.eye(6)
    rows = [np.array([place]) for place in range(6)]
    order, rises = eliminate([Reader(covariance, np.ones((6, 3)), rows)], 6)
    assert order[0] in (2, 5)
    assert rises[0] < 1e-6
    assert {2, 5} - set(order[:2].tolist()) == {2, 5} - {int(order[0])}


def test_units_that_nothing_reads_go_first():
    each = reader(np.random.default_rng(0), 6, 2, 3)
    each.rows[4] = np.zeros(0, int)
    order, rises = eliminate([each], 6)
    assert order[0] == 4
    assert rises[0] == 0.0


def test_diagonal_alone():
    rng = np.random.default_rng(0)
    diagonal, kernel = rng.uniform(0.5, 2, 6), rng.normal(size=(6, 3))
    rows = [np.array([a, a + 1]) for a in (0, 2, 4)]
    order, rises = eliminate([Reader(diagonal, kernel, rows)], 3)
    costs = np.array([np.sum(diagonal[r, None] * kernel[r] ** 2) / 2 for r in rows])
    assert order.tolist() == np.argsort(costs).tolist()
    np.testing.assert_allclose(rises, np.sort(costs))


def test_few_units_against_all_choices():
    """Greedy is at most a little worse than the best choice of all."""
    each = reader(np.random.default_rng(3), 8, 1, 4)
    order, _ = eliminate([each], 8)
    best = min(error(each, choice) for choice in itertools.combinations(range(8), 4))
    assert error(each, order[:4]) <= 1.5 * best
