"""Properties of the proximal operators, for weights and thresholds drawn by hypothesis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_sac.regularization._soft_threshold import group_soft_threshold, soft_threshold
from tests.pruning.reference import numpy, quick, tensor

SHAPE = (6, 4)
NUMBERS = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5]), st.floats(-8.0, 8.0, width=32))
WEIGHTS = arrays(np.float32, SHAPE, elements=NUMBERS)
THRESHOLDS = st.one_of(st.just(0.0), st.floats(0.0, 12.0, width=32))
PROX = {
    "weights": (quick(soft_threshold), lambda w: np.abs(w).sum()),
    "filters": (
        quick(lambda v, t: group_soft_threshold(v, t, 1)),
        lambda w: np.sqrt((w**2).sum(axis=0)).sum(),
    ),
}

each_prox = pytest.mark.parametrize("kind", PROX)


def prox_of(kind, v, t):
    return numpy(PROX[kind][0](tensor(v, "float32"), tensor(t, "float32"))).astype("float64")


@each_prox
@given(v=WEIGHTS, other=WEIGHTS, share=st.floats(0.0, 1.0), t=THRESHOLDS)
def test_it_is_the_minimiser(kind, v, other, share, t):
    def objective(w):
        return 0.5 * np.sum((v.astype("float64") - w) ** 2) + t * PROX[kind][1](w)

    w = prox_of(kind, v, t)
    # Any other point, and one as near as may be; the objective is strongly convex.
    for point in (other.astype("float64"), w + share * 1e-2 * other, np.zeros(SHAPE)):
        gap = objective(point) - objective(w)
        assert gap >= 0.5 * np.sum((point - w) ** 2) - 1e-4 * (1 + abs(objective(w)))


@each_prox
@given(v=WEIGHTS, other=WEIGHTS, t=THRESHOLDS)
def test_it_is_firmly_non_expansive(kind, v, other, t):
    moved = prox_of(kind, v, t) - prox_of(kind, other, t)
    apart = v.astype("float64") - other
    assert np.sum(moved**2) <= np.sum(moved * apart) + 1e-4
    assert np.linalg.norm(moved) <= np.linalg.norm(apart) + 1e-5


@each_prox
@given(v=WEIGHTS, t=THRESHOLDS)
def test_it_shrinks_and_never_changes_a_sign(kind, v, t):
    w = prox_of(kind, v, t)
    assert (np.abs(w) <= np.abs(v)).all()
    assert (w * v >= 0).all()
    if kind == "weights":
        np.testing.assert_array_equal(w == 0, np.abs(v) <= np.float32(t))


@each_prox
@given(v=WEIGHTS, t=THRESHOLDS)
def test_moreau(kind, v, t):
    """What is left of `v` is its projection on the ball of the dual norm."""
    rest = v.astype("float64") - prox_of(kind, v, t)
    size = np.abs(rest).max() if kind == "weights" else np.sqrt((rest**2).sum(axis=0)).max()
    assert size <= t + 1e-5
