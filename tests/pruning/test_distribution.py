"""How a sparsity is distributed: per kernel, by one ranking, by the ERK rule."""

import math

import numpy as np
import pytest

from keras_sac.pruning import NM, Block, Filters, Unstructured
from keras_sac.pruning._distribution import erk_densities, masks_for
from keras_sac.pruning._identifiers import get_distribution
from tests.pruning import reference
from tests.pruning.reference import kernel, numpy, tensor

SHAPES = [(20, 30), (3, 3, 4, 8), (30, 7)]


def decided(scores, sparsity, distribution, patterns=None):
    kernels = [kernel(np.shape(s)) for s in scores]
    patterns = patterns or [Unstructured()] * len(scores)

    def function(tensors, sparsity):
        return masks_for(tensors, kernels, patterns, sparsity, distribution)

    got = reference.quick(function)([tensor(s) for s in scores], tensor(sparsity, "float32"))
    return [numpy(mask) for mask in got]


@pytest.fixture
def scores(rng):
    """Kernels of different sizes and scales."""
    return [
        (np.abs(rng.normal(size=shape)) * scale).astype("float32")
        for shape, scale in zip(SHAPES, (1.0, 0.3, 2.0), strict=True)
    ]


SPARSITIES = [0.0, 0.25, 0.5, 0.83, 0.999]


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_per_layer_each_kernel_has_the_sparsity(scores, sparsity):
    for mask, score in zip(decided(scores, sparsity, "uniform"), scores, strict=True):
        np.testing.assert_array_equal(
            mask, reference.kept(score, reference.budget(score.size, sparsity))
        )


@pytest.mark.parametrize(
    ("n", "sparsity", "k"),
    [
        (10, 0.75, 2),  # 2.5 to even
        (10, 0.25, 8),  # 7.5 to even
        (6, 0.75, 2),  # 1.5 to even
        (2, 0.75, 1),  # 0.5 to even is 0, and one is the least
        (100, 0.999, 1),
        (1, 0.5, 1),
        (1, 0.0, 1),
        (7, 0.0, 7),
        (1000, 0.9, 100),  # 1 - 0.9 is 0.100000024 in float32
        (25, 0.3, 18),  # 17.5 exactly, although 25 * 0.7 is not in float64
    ],
)
def test_the_number_that_stays_is_rounded_half_to_even(rng, n, sparsity, k):
    score = np.abs(rng.normal(size=(n, 1))).astype("float32")
    assert reference.budget(n, sparsity) == k
    assert decided([score], sparsity, "uniform")[0].sum() == k


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_global_is_one_ranking_of_all(scores, sparsity):
    together = np.concatenate([s.ravel() for s in scores])
    budget = reference.budget(together.size, sparsity)
    expected = reference.kept(together, budget)
    got = decided(scores, sparsity, "global")
    for mask, score in zip(got, scores, strict=True):
        wanted = expected[: score.size].reshape(score.shape)
        expected = expected[score.size :]
        if not wanted.any():
            wanted = score == score.max()
        np.testing.assert_array_equal(mask, wanted)
    # One more for each layer that would have lost all.
    assert budget <= sum(m.sum() for m in got) <= budget + 2


def test_global_leaves_no_layer_without_weights():
    scores = [np.linspace(1, 2, 50, dtype="float32").reshape(5, 10), np.eye(3, dtype="float32") / 9]
    weak = decided(scores, 0.5, "global")[1]
    np.testing.assert_array_equal(weak, np.eye(3, dtype=bool))


def test_global_counts_the_weights_that_groups_stand_for(rng):
    # 6 x 8 weights in 12 blocks of 4, 6 filters of 10, and 40 by themselves.
    shapes = [(6, 8), (10, 6), (8, 5)]
    patterns = [Block((2, 2)), Filters(), Unstructured()]
    scores = [rng.uniform(0.1, 1, size=shape).astype("float32") for shape in shapes]
    pooled = [
        np.array([scores[0][b].mean() for b in reference.blocks((6, 8), (2, 2))]),
        scores[1].mean(axis=0),
        scores[2].ravel(),
    ]
    weights = np.repeat([4, 10, 1], [12, 6, 40])
    budget = reference.budget(48 + 60 + 40, 0.6)
    chosen = reference.kept_weighted(np.concatenate(pooled), weights, budget)
    got = decided(scores, 0.6, "global", patterns)
    assert [m.sum() for m in got] == [
        chosen[:12].sum() * 4,
        chosen[12:18].sum() * 10,
        chosen[18:].sum(),
    ]


def test_global_counts_the_blocks_at_the_far_end_by_what_they_have(rng):
    # 25 x 1 in blocks of 8: three whole ones and one of a single weight, the best.
    scores = [rng.uniform(0.1, 0.5, size=(25, 1)).astype("float32"), np.zeros((75, 1), "float32")]
    scores[0][24] = 1.0
    scores[1][:] = rng.uniform(0.6, 0.9, size=(75, 1))
    got = decided(scores, 0.5, "global", [Block((8, 1)), Unstructured()])
    assert got[0].sum() == 1
    assert got[1].sum() == 49


ERK_SHAPES = [
    [(784, 300), (300, 100), (100, 10)],
    [(3, 3, 1, 32), (3, 3, 32, 64), (1600, 128), (128, 10)],
    [(5, 5)],
    [(2, 2), (1000, 1000)],
    [(166, 80), (157, 63)],
    [(196, 76), (137, 190), (130, 168), (138, 141), (78, 175)],
]


@pytest.mark.parametrize("density", [1.0, 0.999, 0.9, 0.5, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("shapes", ERK_SHAPES, ids=lambda s: f"{len(s)}-{s[0]}")
def test_erk_densities_are_those_of_the_iteration(shapes, density):
    got = [float(d) for d in erk_densities(shapes, tensor(density, "float32"))]
    np.testing.assert_allclose(got, reference.erk(shapes, density), rtol=1e-4, atol=1e-6)
    sizes = [math.prod(shape) for shape in shapes]
    assert max(got) <= 1.0
    assert np.dot(got, sizes) == pytest.approx(density * sum(sizes), rel=1e-4)


def test_erk_is_the_rule_of_the_paper():
    # Away from saturation the density of a kernel goes as the sum of its axes over their product.
    shapes = [(40, 60), (3, 3, 50, 60), (90, 30)]
    got = [float(d) for d in erk_densities(shapes, tensor(0.1, "float32"))]
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    np.testing.assert_allclose(np.divide(got, raw), got[0] / raw[0], rtol=1e-5)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.8, 0.95])
def test_erk_prunes_each_kernel_by_its_density(scores, sparsity):
    got = decided(scores, sparsity, "erk")
    densities = reference.erk(SHAPES, 1 - sparsity)
    for mask, score, density in zip(got, scores, densities, strict=True):
        assert abs(mask.sum() - max(density * score.size, 1)) <= 1
        np.testing.assert_array_equal(mask, reference.kept(score, int(mask.sum())))


@pytest.mark.parametrize("distribution", ["uniform", "global", "erk"])
def test_without_sparsity_all_stay(rng, distribution):
    # Kernels for which float32 makes the densities of the ERK rule a little less than one.
    scores = [rng.random(shape).astype("float32") for shape in [(166, 80), (157, 63)]]
    assert all(mask.all() for mask in decided(scores, 0.0, distribution))


@pytest.mark.parametrize("distribution", ["global", "erk"])
def test_a_pattern_of_its_own_sparsity_takes_no_part(scores, distribution):
    with_nm = decided(
        scores, 0.7, distribution, [Unstructured(), NM(m=4, n_zeros=2), Unstructured()]
    )
    without = decided([scores[0], scores[2]], 0.7, distribution)
    np.testing.assert_array_equal(with_nm[0], without[0])
    np.testing.assert_array_equal(with_nm[2], without[1])
    np.testing.assert_array_equal(with_nm[1], reference.nm_mask(scores[1], 2, 4, 2))


@pytest.mark.parametrize("distribution", ["uniform", "global", "erk"])
def test_nan_never_stays_and_takes_no_place(scores, distribution):
    scores[0][::2] = np.nan
    scores[1][:] = np.nan
    for sparsity in (0.0, 0.6):
        got = decided(scores, sparsity, distribution)
        assert not got[0][::2].any()
        assert not got[1].any()
        assert got[0].any()
    layer = decided(scores, 0.75, "uniform")[0]
    assert layer.sum() == 150


@pytest.mark.parametrize("distribution", ["uniform", "global", "erk"])
def test_infinity_stays(scores, distribution):
    scores[0][3, 4] = np.inf
    assert decided(scores, 0.99, distribution)[0][3, 4]


@pytest.mark.parametrize("distribution", ["layers", "Global", None, ""])
def test_an_unknown_distribution_is_refused(distribution):
    with pytest.raises(ValueError, match="'uniform', 'global', 'erk'"):
        get_distribution(distribution)


@pytest.mark.parametrize("distribution", ["uniform", "global", "erk"])
def test_distributions_are_known_by_name(distribution):
    assert get_distribution(distribution) == distribution
