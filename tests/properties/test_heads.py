"""Properties of sparsemax and entmax 1.5, for logits drawn by hypothesis."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from keras_sac import Entmax15Loss, SparsemaxLoss, entmax15, sparsemax
from tests.heads import gradients

# Sizes are fixed, so that a backend that compiles does so once for each.
SIZES = (5, 40)
HEADS = {"sparsemax": sparsemax, "entmax15": entmax15}
LOSSES = {"sparsemax": SparsemaxLoss(reduction=None), "entmax15": Entmax15Loss(reduction=None)}
QUICK = {name: gradients.compiled(head) for name, head in HEADS.items()}


def numbers(low=-40.0, high=40.0):
    """Logits of ordinary size, with ties."""
    return st.one_of(
        st.integers(-3, 3).map(float), st.floats(low, high, width=32, allow_subnormal=False)
    )


def rows():
    """Two logits' rows of one size, some classes masked by -inf."""
    masked = st.one_of(numbers(), st.just(-np.inf))
    return st.sampled_from(SIZES).flatmap(lambda n: arrays(np.float32, (2, n), elements=masked))


def probabilities(name, x):
    return np.asarray(ops.convert_to_numpy(QUICK[name](ops.convert_to_tensor(x))))


def with_a_class(x):
    """No row may be masked altogether."""
    x = x.copy()
    x[np.isneginf(x).all(axis=1), 0] = 0.0
    return x


@pytest.mark.parametrize("name", HEADS)
@given(x=rows())
def test_on_the_simplex(name, x):
    x = with_a_class(x)
    p = probabilities(name, x)
    assert np.all(p >= 0)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=3e-6)
    assert np.all(p[np.isneginf(x)] == 0)


@pytest.mark.parametrize("name", HEADS)
@given(x=rows(), shift=numbers())
def test_shifts_change_nothing(name, x, shift):
    x = with_a_class(x)
    moved = probabilities(name, x + np.float32(shift))
    # What the sum rounds off is not the projection's.
    np.testing.assert_allclose(moved, probabilities(name, x), atol=2e-5)


@pytest.mark.parametrize("name", HEADS)
@given(x=rows(), seed=st.integers(0, 1000))
def test_permutations_go_through(name, x, seed):
    x = with_a_class(x)
    order = np.random.default_rng(seed).permutation(x.shape[1])
    p = probabilities(name, x)
    np.testing.assert_allclose(probabilities(name, x[:, order]), p[:, order], atol=1e-6)


@pytest.mark.parametrize("name", HEADS)
@given(x=rows())
def test_the_order_of_the_logits_is_that_of_the_probabilities(name, x):
    x = with_a_class(x)
    p = probabilities(name, x)
    for logits, chances in zip(x, p, strict=True):
        larger = logits[:, None] > logits[None, :]
        assert np.all((chances[:, None] >= chances[None, :] - 1e-7)[larger])
        same = logits[:, None] == logits[None, :]
        assert np.all((chances[:, None] == chances[None, :])[same])


@given(x=rows())
def test_sparsemax_is_the_nearest_point(x):
    """No step towards another vertex comes nearer: the variational inequality of a projection."""
    x = np.maximum(with_a_class(x), -60)
    p = probabilities("sparsemax", x).astype("float64")
    for logits, chances in zip(x.astype("float64"), p, strict=True):
        steps = np.eye(len(logits)) - chances
        assert np.max(steps @ (logits - chances)) < 1e-3 * (1 + np.abs(logits).max())


@pytest.mark.parametrize("name", LOSSES)
@given(x=rows(), label=st.integers(0, 4))
def test_a_loss_is_never_negative(name, x, label):
    x = with_a_class(x)
    loss = np.asarray(ops.convert_to_numpy(LOSSES[name](np.array([label, label]), x)))
    assert np.all(loss >= 0)
    assert np.all((loss == np.inf) == np.isneginf(x[:, label]))
