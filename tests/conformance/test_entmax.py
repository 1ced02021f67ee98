"""Values, gradients and losses equal those of the PyPI package `entmax`, whatever the backend."""

import entmax
import numpy as np
import pytest
import torch
from keras import ops

from keras_sac import Entmax15Loss, SparsemaxLoss, entmax15, sparsemax
from tests.heads import gradients

PAIRS = {
    "sparsemax": (sparsemax, entmax.sparsemax, SparsemaxLoss, entmax.sparsemax_loss),
    "entmax15": (entmax15, entmax.entmax15, Entmax15Loss, entmax.entmax15_loss),
}
# In float32 both round; logits of this size leave 1e-6 of room.
TOLERANCE = 1e-6


@pytest.fixture(params=PAIRS)
def name(request):
    return request.param


def problems():
    """Logits of random ranks, shapes and axes, some of them masked."""
    rng = np.random.default_rng(5)
    for number in range(10):
        rank = int(rng.integers(1, 5))
        axis = int(rng.integers(-rank, rank))
        shape = rng.integers(1, 5, rank)
        shape[axis] = rng.choice([2, 7, 16, 17, 60, 530])
        x = (rng.normal(size=shape) * rng.choice([0.1, 1.0, 4.0])).astype("float32")
        if number % 2:
            masked = rng.random(shape) < 0.4
            # One class of each row stays.
            np.moveaxis(masked, axis, 0)[0] = False
            x[masked] = -np.inf
        yield pytest.param(x, axis, rng.normal(size=shape).astype("float32"), id=f"{shape}, {axis}")


@pytest.mark.parametrize(("x", "axis", "g"), [*problems()])
def test_values_and_gradients(name, x, axis, g):
    ours, theirs, _, _ = PAIRS[name]
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf, dim=axis)
    if name == "entmax15" and np.isinf(x).any():
        # Their running mean of -inf is NaN; masks are given as very low logits there.
        leaf = torch.tensor(np.maximum(x, -1e4), requires_grad=True)
        expected = theirs(leaf, dim=axis)
    expected.backward(torch.tensor(g))
    found = gradients.compiled(lambda x: ours(x, axis=axis))(ops.convert_to_tensor(x))
    found = np.asarray(ops.convert_to_numpy(found))
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=TOLERANCE)
    slope = gradients.vjp(lambda x: ours(x, axis=axis), x, g)
    # The difference of a gradient and its mean: as exact as those are large.
    np.testing.assert_allclose(slope, leaf.grad.numpy(), atol=TOLERANCE * (1 + np.abs(g).max()))


@pytest.mark.parametrize("classes", [2, 10, 50, 700])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_losses(name, classes, scale, rng):
    _, _, ours, theirs = PAIRS[name]
    x = (rng.normal(size=(8, classes)) * scale).astype("float32")
    labels = rng.integers(0, classes, 8)
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf, torch.tensor(labels))
    expected.sum().backward()
    loss = ours(reduction=None)
    found = np.asarray(ops.convert_to_numpy(loss(labels, x)))
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=2e-6, rtol=1e-6)
    slope = gradients.vjp(lambda x: loss(labels, x), x, np.ones(8, "float32"))
    np.testing.assert_allclose(slope, leaf.grad.numpy(), atol=TOLERANCE)
