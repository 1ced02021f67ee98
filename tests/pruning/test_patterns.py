"""Sparsity patterns: masks against explicit loops over groups, and kernels that do not fit."""

import itertools

import numpy as np
import pytest

from keras_sac.pruning import NM, Block, Filters, Pattern, Unstructured
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._identifiers import get_pattern
from tests.pruning import reference
from tests.pruning.reference import FLOATS, kernel, numpy, tensor


def mask_of(scores, pattern, sparsity=0.5, dtype="float32", **axes):
    described = kernel(np.shape(scores), **axes)

    def function(scores, sparsity):
        return masks_for([scores], [described], [pattern], sparsity, "uniform")[0]

    return numpy(reference.quick(function)(tensor(scores, dtype), tensor(sparsity, "float32")))


def name_of(pattern):
    return "-".join([type(pattern).__name__, *map(str, pattern.get_config().values())])


POOLS = {
    "AVG": np.mean,
    "MAX": np.max,
    "l1": np.mean,
    "l2": lambda group: np.sqrt(np.mean(group**2)),
}
BLOCKS = [
    ((8, 6), (2, 3)),
    ((7, 5), (2, 3)),
    ((5, 4), (8, 1)),
    ((6, 6), (1, 1)),
    ((4, 9), (4, 4)),
    ((3, 3, 4, 6), (3, 3, 1, 1)),
    ((3, 2, 5, 7), (2, 1, 4, 3)),
    ((3, 4, 6), (1, 2, 6)),
]


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8])
@pytest.mark.parametrize(("shape", "size"), BLOCKS)
def test_blocks_go_by_their_mean_or_largest_score(rng, shape, size, sparsity, pooling):
    scores = rng.random(shape).astype("float32")
    expected = reference.grouped_mask(
        scores, reference.blocks(shape, size), POOLS[pooling], sparsity
    )
    np.testing.assert_array_equal(mask_of(scores, Block(size, pooling), sparsity), expected)


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    ("shape", "output_axis"), [((9, 7), 1), ((9, 7), 0), ((3, 3, 4, 6), 3), ((3, 3, 6, 4), 2)]
)
def test_filters_go_by_their_norm(rng, shape, output_axis, sparsity, norm):
    scores = rng.random(shape).astype("float32")
    expected = reference.grouped_mask(
        scores, reference.filters(shape, output_axis), POOLS[norm], sparsity
    )
    got = mask_of(scores, Filters(norm), sparsity, output_axis=output_axis)
    np.testing.assert_array_equal(got, expected)


def test_the_norms_differ_where_they_should():
    # One large weight against several of middle size.
    scores = np.array([[3.0, 1.5], [0.0, 1.5], [0.0, 1.5]], "float32")
    assert mask_of(scores, Filters("l1"))[0].tolist() == [False, True]
    assert mask_of(scores, Filters("l2"))[0].tolist() == [True, False]


@pytest.mark.parametrize(("n_zeros", "m"), [(2, 4), (1, 3), (3, 4), (1, 2), (7, 8)])
@pytest.mark.parametrize(
    ("shape", "axis"), [((8, 5), 0), ((9, 5), 0), ((3, 4), 0), ((3, 3, 8, 4), 2), ((2, 2, 3, 7), 3)]
)
def test_each_group_loses_its_smallest(rng, shape, axis, n_zeros, m):
    scores = rng.integers(0, 6, size=shape).astype("float32")
    got = mask_of(scores, NM(m=m, n_zeros=n_zeros), input_axis=axis)
    np.testing.assert_array_equal(got, reference.nm_mask(scores, n_zeros, m, axis))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.9])
def test_the_sparsity_of_n_m_is_its_own(rng, sparsity):
    scores = rng.random((16, 8)).astype("float32")
    mask = mask_of(scores, NM(m=4, n_zeros=3), sparsity)
    assert mask.sum() == 32
    assert NM(m=4, n_zeros=3).fixed_sparsity == 0.75
    assert {p.fixed_sparsity for p in (Unstructured(), Filters(), Block((2, 2)))} == {None}


def test_of_equal_scores_in_a_group_the_first_stay():
    mask = mask_of(np.zeros((8, 1), "float32"), NM(m=4, n_zeros=2))
    assert mask[:, 0].tolist() == [True, True, False, False] * 2


def test_what_fills_up_the_last_group_goes_first():
    # 5 = 4 + 1: of the last group, one weight and three that fill it up, the weight stays.
    scores = np.array([[4.0], [3.0], [2.0], [1.0], [0.0]], "float32")
    assert mask_of(scores, NM(m=4, n_zeros=3))[:, 0].tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    "pattern", [Unstructured(), Block((2, 2)), Block((2, 2), "MAX"), Filters(), Filters("l2")]
)
def test_of_all_equal_scores_all_stay(pattern):
    assert mask_of(np.full((4, 6), 0.5, "float32"), pattern, 0.75).all()


@pytest.mark.parametrize(
    "pattern",
    [
        Unstructured(),
        Block((2, 2)),
        Block((2, 2), "MAX"),
        Filters(),
        Filters("l2"),
        NM(m=4, n_zeros=2),
    ],
    ids=name_of,
)
def test_nan_is_never_kept_and_never_an_advantage(rng, pattern):
    scores = rng.uniform(0.01, 0.1, size=(8, 6)).astype("float32")
    scores[0, 0] = np.nan
    mask = mask_of(scores, pattern, 0.25)
    assert not mask[0, 0]
    # For those in its group it counts no more than a zero would.
    zero = mask_of(np.nan_to_num(scores), pattern, 0.25)
    assert not (mask[:2, 0] & ~zero[:2, 0]).any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e4])
@pytest.mark.parametrize("pattern", [Filters("l1"), Filters("l2"), Block((4, 2))], ids=name_of)
def test_half_precision_is_pooled_without_overflow_or_underflow(rng, dtype, scale, pattern):
    scores = scale * rng.uniform(0.1, 1, size=(64, 12))
    held = numpy(tensor(scores, dtype)).astype("float32")
    groups = (
        reference.filters(held.shape, 1)
        if isinstance(pattern, Filters)
        else reference.blocks(held.shape, pattern.size)
    )
    pool = POOLS[pattern.norm if isinstance(pattern, Filters) else pattern.pooling]
    expected = reference.grouped_mask(held, groups, pool, 0.5)
    np.testing.assert_array_equal(mask_of(scores, pattern, dtype=dtype), expected)


@pytest.mark.parametrize("shape", [(8,), (3, 3, 4, 8)])
def test_a_block_that_does_not_fit_the_rank_is_refused(shape):
    with pytest.raises(ValueError, match=r"size=\(2, 2\).*not fit.*'layer/kernel'.*targets="):
        Block((2, 2)).check(kernel(shape))
    Block((2,) * len(shape)).check(kernel(shape))


@pytest.mark.parametrize("size", [(), (0, 1), (2, -1), (1.5, 2), (True, 2), "22"])
def test_a_block_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="size="):
        Block(size)


@pytest.mark.parametrize("pooling", ["avg", "MEAN", None])
def test_an_unknown_pooling_is_refused(pooling):
    with pytest.raises(ValueError, match='"AVG" or "MAX"'):
        Block((2, 2), pooling)


@pytest.mark.parametrize(
    ("n_zeros", "m"), [(4, 4), (5, 4), (0, 4), (-1, 4), (1, 1), (2, 65), (1.5, 4), (True, 4)]
)
def test_n_m_out_of_range_is_refused(n_zeros, m):
    with pytest.raises(ValueError, match="n_zeros"):
        NM(m=m, n_zeros=n_zeros)


@pytest.mark.parametrize("norm", ["L1", "linf", 2, None])
def test_an_unknown_norm_is_refused(norm):
    with pytest.raises(ValueError, match='"l1" or "l2"'):
        Filters(norm)


def test_names_stand_for_patterns():
    assert isinstance(get_pattern(None), Unstructured)
    assert isinstance(get_pattern("unstructured"), Unstructured)
    assert get_pattern("filters").get_config() == {"norm": "l1"}
    assert get_pattern("2:4").get_config() == {"m": 4, "n_zeros": 2}
    block = Block((2, 2))
    assert get_pattern(block) is block


@pytest.mark.parametrize("given", ["4:2", "blocks", 4, Filters, (2, 2)])
def test_an_unknown_pattern_is_refused_with_those_that_exist(given):
    with pytest.raises(ValueError, match="'unstructured', 'filters', '2:4'"):
        get_pattern(given)


@pytest.mark.parametrize(("shape", "size"), BLOCKS)
def test_the_decision_about_a_block_is_that_of_all_its_weights(rng, shape, size):
    described, pattern = kernel(shape), Block(size)
    pooled = numpy(pattern.pool(tensor(np.ones(shape, "float32")), described))
    np.testing.assert_allclose(pooled, 1.0)
    keep = rng.random(pooled.shape) < 0.5
    spread = numpy(pattern.spread(tensor(keep), described))
    assert spread.shape == shape
    for group, stays in zip(reference.blocks(shape, size), keep.ravel(), strict=True):
        assert (spread[group] == stays).all()


def test_the_weights_of_a_group_are_counted():
    described = kernel((3, 3, 4, 10))
    sizes = {Unstructured(): 1, Filters(): 36, Block((3, 3, 1, 2)): 18, NM(m=4, n_zeros=2): 1}
    assert {p: p.group_size(described) for p in sizes} == sizes


def test_the_base_class_asks_for_its_parts():
    scores = tensor(np.ones((2, 2), "float32"))
    for method, arguments in itertools.product(("pool", "spread"), [(scores, kernel((2, 2)))]):
        with pytest.raises(NotImplementedError):
            getattr(Pattern(), method)(*arguments)
    with pytest.raises(NotImplementedError):
        Pattern().group_size(kernel((2, 2)))
