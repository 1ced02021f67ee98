"""The k-th largest score by counting, against `numpy.partition`."""

import numpy as np
import pytest

from keras_sac.pruning._top_k import keep_top_k
from tests.pruning import reference
from tests.pruning.reference import FLOATS, numpy, tensor


def selected(scores, k, weights=None):
    function = reference.quick(lambda scores, k: keep_top_k(scores, k, weights))
    return [numpy(mask) for mask in function([tensor(s) for s in scores], tensor(k, "int32"))]


def check(scores, k):
    (mask,) = selected([scores], k)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, reference.kept(scores, k))


@pytest.mark.parametrize("k", [1, 2, 499, 2500, 4999, 5000])
def test_it_keeps_the_k_largest(rng, k):
    scores = np.abs(rng.normal(size=(50, 100))).astype("float32")
    check(scores, k)
    assert selected([scores], k)[0].sum() == k


@pytest.mark.parametrize("k", [1, 3, 50, 150, 299, 300])
def test_what_ties_with_the_last_one_stays(rng, k):
    scores = rng.integers(0, 5, size=(30, 10)).astype("float32") / 7
    check(scores, k)
    assert selected([scores], k)[0].sum() >= k


@pytest.mark.parametrize("k", [1, 4, 5, 9, 10])
def test_neighbouring_floats_are_told_apart(k):
    scores = np.array([1.0], "float32").view("int32") + np.arange(-5, 5, dtype="int32")
    scores = scores.view("float32")
    check(scores, k)
    assert selected([scores], k)[0].sum() == k


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 7, 8])
def test_extremes_are_in_order(k):
    info = np.finfo("float32")
    scores = np.array(
        [0.0, info.smallest_subnormal, 3e-42, info.tiny, 1e-20, 1.0, info.max, np.inf], "float32"
    )
    check(scores, k)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_minus_zero_is_zero(k):
    check(np.array([-0.0, 2.0, 0.0, -0.0, 1.0], "float32"), k)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_nan_and_negative_scores_are_never_kept(k):
    scores = np.array([np.nan, 3.0, -1.0, np.inf, 0.0, -np.inf], "float32")
    check(scores, k)


def test_of_nothing_but_nan_nothing_is_kept():
    assert not selected([np.full((3, 2), np.nan, "float32")], 2)[0].any()


def test_of_nothing_nothing_is_kept():
    assert selected([np.zeros((0, 4), "float32")], 0)[0].shape == (0, 4)


@pytest.mark.parametrize("k", [1, 7, 20, 41])
@pytest.mark.parametrize("dtype", FLOATS)
def test_other_types_are_ranked_without_rounding(rng, k, dtype):
    scores = tensor(np.abs(rng.normal(size=41)), dtype)
    mask = numpy(keep_top_k([scores], tensor(k, "int32"))[0])
    np.testing.assert_array_equal(mask, reference.kept(numpy(scores), k))


@pytest.mark.parametrize("k", [1, 10, 60, 89, 90])
def test_several_tensors_are_ranked_together(rng, k):
    scores = [
        np.abs(rng.normal(size=shape)).astype("float32") * scale
        for shape, scale in (((4, 5), 1.0), ((3, 3, 5), 0.1), ((25,), 3.0))
    ]
    together = reference.kept(np.concatenate([s.ravel() for s in scores]), k)
    masks = selected(scores, k)
    assert [mask.shape for mask in masks] == [s.shape for s in scores]
    np.testing.assert_array_equal(np.concatenate([m.ravel() for m in masks]), together)


def test_tensors_of_different_types_are_ranked_together(rng):
    scores = [tensor(np.abs(rng.normal(size=20)), d) for d in FLOATS]
    masks = keep_top_k(scores, tensor(13, "int32"))
    together = reference.kept(np.concatenate([numpy(s).astype("float64") for s in scores]), 13)
    np.testing.assert_array_equal(np.concatenate([numpy(m) for m in masks]), together)


@pytest.mark.parametrize("k", [1, 5, 16, 33, 70])
def test_a_score_may_stand_for_many_weights(rng, k):
    scores = [np.abs(rng.normal(size=n)).astype("float32") for n in (10, 6)]
    weights = np.repeat([1, 10], [10, 6])
    masks = selected(scores, k, [1, 10])
    together = reference.kept_weighted(np.concatenate(scores), weights, k)
    np.testing.assert_array_equal(np.concatenate(masks), together)


@pytest.mark.parametrize("k", [1, 30, 64, 100])
def test_compiled_it_is_the_same_with_a_traced_k(rng, k):
    scores = np.abs(rng.normal(size=(10, 10))).astype("float32")
    scores[3] = scores[2]
    scores[0, 0] = np.nan
    for compiled in reference.compilers():
        function = compiled(lambda s, n: keep_top_k([s], n)[0])
        mask = numpy(function(tensor(scores), tensor(k, "int32")))
        np.testing.assert_array_equal(mask, reference.kept(scores, k))


def test_a_million_scores(rng):
    check(np.abs(rng.normal(size=10**6)).astype("float32"), 12_345)
