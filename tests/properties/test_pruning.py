"""Properties of top-k, patterns, distributions and schedules, for numbers drawn by hypothesis."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_sac.pruning import NM, Block, ConstantSparsity, Filters, PolynomialDecay, Unstructured
from keras_sac.pruning._distribution import erk_densities, masks_for
from keras_sac.pruning._top_k import keep_top_k
from tests.marks import slow_on_jax
from tests.pruning import reference
from tests.pruning.reference import kernel, numpy, tensor

N = 24
SPECIAL = [0.0, -0.0, 1e-45, 3e-42, 1.1754944e-38, 1e-20, 1.0, 1.0000001, 3e38, math.inf]
SHARES = st.floats(0.0, 0.9990234375, width=32)

# Sizes are fixed, so that a backend that compiles does so once.
one_tensor = reference.quick(lambda scores, k: keep_top_k([scores], k)[0])
three_tensors = reference.quick(lambda scores, k: keep_top_k(scores, k, [1, 3, 8]))


def scores_of(n):
    """Scores of any size, with ties and the ends of the range; sometimes NaN or negative."""
    number = st.one_of(
        st.sampled_from(SPECIAL),
        st.integers(0, 4).map(float),
        st.floats(0, width=32, allow_nan=False),
        st.sampled_from([math.nan, -1.0, -math.inf]),
    )
    return arrays(np.float32, n, elements=number)


@given(scores_of(N), st.integers(1, N))
def test_selection_is_the_partition(scores, k):
    mask = numpy(one_tensor(tensor(scores), tensor(k, "int32")))
    np.testing.assert_array_equal(mask, reference.kept(scores, k))


@given(scores_of(N))
def test_the_least_and_the_most_that_is_kept(scores):
    one, all_ = (numpy(one_tensor(tensor(scores), tensor(k, "int32"))) for k in (1, N))
    valid = scores >= 0
    np.testing.assert_array_equal(all_, valid)
    largest = scores[valid].max() if valid.any() else np.inf
    np.testing.assert_array_equal(one, valid & (scores == largest))


@given(scores_of(N), st.integers(1, N - 1))
def test_who_stays_when_few_do_stays_when_more_do(scores, k):
    few, more = (numpy(one_tensor(tensor(scores), tensor(i, "int32"))) for i in (k, k + 1))
    assert not (few & ~more).any()


@given(scores_of(N), st.randoms(use_true_random=False), st.integers(1, N))
def test_selection_does_not_depend_on_the_order(scores, random, k):
    order = np.array(random.sample(range(N), N))
    mask = numpy(one_tensor(tensor(scores), tensor(k, "int32")))
    shuffled = numpy(one_tensor(tensor(scores[order]), tensor(k, "int32")))
    np.testing.assert_array_equal(shuffled, mask[order])


@given(arrays(np.float32, 3 * 8, elements=st.floats(0, 1e3, width=32)), st.integers(1, 96))
def test_selection_of_groups_counts_what_they_stand_for(scores, k):
    parts = np.split(scores, 3)
    weights = np.repeat([1, 3, 8], 8)
    got = np.concatenate([numpy(m) for m in three_tensors([tensor(p) for p in parts], tensor(k))])
    np.testing.assert_array_equal(got, reference.kept_weighted(scores, weights, k))
    assert weights[got].sum() >= min(k, weights.sum())


@slow_on_jax
@given(st.data())
def test_a_block_is_pooled_and_spread_over_the_same_weights(data):
    rank = data.draw(st.integers(1, 4))
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=rank, max_size=rank)))
    size = tuple(data.draw(st.lists(st.integers(1, 8), min_size=rank, max_size=rank)))
    scores = np.random.default_rng(0).random(shape).astype("float32")
    described = kernel(shape)
    groups = reference.blocks(shape, size)
    for pooling, pool in (("AVG", np.mean), ("MAX", np.max)):
        pattern = Block(size, pooling)
        pooled = numpy(pattern.pool(tensor(scores), described))
        expected = [pool(scores[group]) for group in groups]
        np.testing.assert_allclose(pooled.ravel(), expected, rtol=1e-5)
        keep = np.arange(pooled.size).reshape(pooled.shape) % 2 == 0
        spread = numpy(pattern.spread(tensor(keep), described))
        assert spread.shape == shape
        assert [bool(spread[g].all()) for g in groups] == keep.ravel().tolist()
        assert [bool(spread[g].any()) for g in groups] == keep.ravel().tolist()


@given(st.data())
def test_a_filter_is_pooled_and_spread_over_the_same_weights(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=5)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    described = kernel(shape, output_axis=axis, input_axis=0 if axis else 1)
    scores = np.random.default_rng(0).random(shape).astype("float32")
    filters = reference.filters(shape, axis)
    assert Filters().group_size(described) * len(filters) == math.prod(shape)
    pooled = numpy(Filters().pool(tensor(scores), described))
    np.testing.assert_allclose(pooled, [scores[f].mean() for f in filters], rtol=1e-5)
    squares = numpy(Filters("l2").pool(tensor(scores), described))
    np.testing.assert_allclose(
        squares, [np.sqrt((scores[f] ** 2).mean()) for f in filters], rtol=1e-5
    )
    keep = np.arange(shape[axis]) % 2 == 0
    spread = numpy(Filters().spread(tensor(keep), described))
    assert [bool(spread[f].all()) for f in filters] == keep.tolist()
    assert [bool(spread[f].any()) for f in filters] == keep.tolist()


@slow_on_jax
@given(st.data())
def test_n_m_leaves_so_many_in_each_group(data):
    m = data.draw(st.integers(2, 6))
    n_zeros = data.draw(st.integers(1, m - 1))
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    scores = data.draw(arrays(np.float32, shape, elements=st.integers(0, 5).map(float)))
    described = kernel(shape, input_axis=axis)
    pooled = numpy(NM(m=m, n_zeros=n_zeros).pool(tensor(scores), described))
    mask = pooled >= 0
    np.testing.assert_array_equal(mask, reference.nm_mask(scores, n_zeros, m, axis))
    lines = np.moveaxis(mask, axis, 0)
    for start in range(0, shape[axis], m):
        group = lines[start : start + m]
        assert (group.sum(axis=0) == min(m - n_zeros, len(group))).all()


GLOBAL_SHAPES = [(4, 5), (3, 2, 6), (7, 2)]
global_masks = reference.quick(
    lambda scores, sparsity: masks_for(
        scores, [kernel(s) for s in GLOBAL_SHAPES], [Unstructured()] * 3, sparsity, "global"
    )
)


@given(st.integers(0, 2**32), SHARES, st.lists(st.floats(-6, 6), min_size=3, max_size=3))
def test_globally_the_budget_is_kept(seed, sparsity, scales):
    rng = np.random.default_rng(seed)
    scores = [
        (10.0**scale * rng.uniform(0.5, 1.5, size=shape)).astype("float32")
        for shape, scale in zip(GLOBAL_SHAPES, scales, strict=True)
    ]
    together = np.concatenate([s.ravel() for s in scores])
    budget = reference.budget(together.size, sparsity)
    got = [numpy(m) for m in global_masks([tensor(s) for s in scores], tensor(sparsity, "float32"))]
    flat = np.concatenate([m.ravel() for m in got])
    assert not (reference.kept(together, budget) & ~flat).any()
    assert all(mask.any() for mask in got)
    rescued = sum(not (s >= np.sort(together)[-budget]).any() for s in scores)
    ties = together.size - np.unique(together).size
    assert budget + rescued <= flat.sum() <= budget + rescued + ties


@given(
    st.lists(st.lists(st.integers(1, 200), min_size=2, max_size=4), min_size=1, max_size=6),
    st.floats(0.0009765625, 1.0, width=32),
)
def test_erk_densities_are_shares_that_sum_to_the_whole(shapes, density):
    shapes = [tuple(shape) for shape in shapes]
    got = np.array([float(d) for d in erk_densities(shapes, tensor(density, "float32"))])
    sizes = np.array([math.prod(shape) for shape in shapes], "float64")
    assert (got >= 0).all()
    assert (got <= 1).all()
    assert got @ sizes == pytest.approx(density * sizes.sum(), rel=1e-3)
    np.testing.assert_allclose(got, reference.erk(shapes, density), rtol=2e-3, atol=1e-5)


@given(
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 50),
    st.integers(0, 100),
    st.floats(0.1, 10),
    st.integers(1, 30),
)
def test_a_decay_is_monotone_and_in_range(initial, final, begin, length, power, frequency):
    schedule = PolynomialDecay(initial, final, begin, begin + length, power, frequency)
    steps = np.arange(160)
    due, sparsity = schedule(tensor(steps, "int32"))
    due, sparsity = numpy(due), np.broadcast_to(numpy(sparsity), steps.shape)
    low, high = sorted((initial, final))
    assert sparsity.min() >= low - 1e-6
    assert sparsity.max() <= high + 1e-6
    assert ((np.diff(sparsity) * np.sign(final - initial)) >= -1e-7).all()
    np.testing.assert_allclose(sparsity[steps >= begin + length], final, atol=1e-7)
    turns = set(steps[due].tolist())
    assert turns == set(range(begin, begin + length + 1, frequency)) | {begin + length}


@given(st.floats(0, 0.99), st.integers(0, 50), st.integers(-1, 100), st.integers(1, 30))
def test_a_constant_has_turns_between_begin_and_end(sparsity, begin, length, frequency):
    end = begin + length if length >= 0 else -1
    schedule = ConstantSparsity(sparsity, begin, end, frequency)
    steps = np.arange(200)
    due, got = schedule(tensor(steps, "int32"))
    last = 199 if end == -1 else end
    assert steps[numpy(due)].tolist() == [
        s for s in range(begin, last + 1) if (s - begin) % frequency == 0
    ]
    assert float(got) == np.float32(sparsity)


column_mask = reference.quick(
    lambda scores, sparsity: masks_for(
        [scores], [kernel(scores.shape)], [Unstructured()], sparsity, "uniform"
    )[0]
)


@given(SHARES, st.sampled_from([1, 2, 9, 130, 1999]))
def test_the_number_of_kept_weights_is_within_one_of_the_fraction(sparsity, n):
    k = reference.budget(n, sparsity)
    scores = tensor(np.arange(1, n + 1).reshape(n, 1), "float32")
    assert numpy(column_mask(scores, tensor(sparsity, "float32"))).sum() == k
    assert abs(k - max(n * (1 - sparsity), 1)) <= 0.5 + 1e-3
