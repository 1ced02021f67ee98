"""Eager torch on an accelerator: nothing in a step reads a tensor, which would wait for it."""

import keras
import numpy as np
import pytest

from keras_sac import Entmax15Loss, SparsemaxLoss, entmax15, sparsemax
from keras_sac.heads import _last_axis
from tests.heads import reference

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "torch", reason="the tensors that refuse to be read are torch's"
    ),
]
FUNCTIONS = {"sparsemax": sparsemax, "entmax15": entmax15}
LOSSES = {"sparsemax": SparsemaxLoss, "entmax15": Entmax15Loss}


@pytest.fixture(params=FUNCTIONS)
def name(request):
    return request.param


@pytest.fixture
def on_cuda():
    """A function that makes tensors which say that they are on a GPU, and refuse to be read."""
    import torch

    def refuse(*_, **__):
        raise AssertionError("reading this tensor waits for the device")

    class OnCuda(torch.Tensor):
        @property
        def device(self):
            return torch.device("cuda")

        numpy = item = tolist = __bool__ = __int__ = __float__ = __index__ = __array__ = refuse

        # Keras moves each tensor to the device of the CPU here, which gives the plain class.
        def to(self, *args, **kwargs):
            return super().to(*args, **kwargs).as_subclass(OnCuda)

    return lambda array: torch.tensor(np.asarray(array)).as_subclass(OnCuda)


def plain(tensor):
    import torch

    return tensor.detach().as_subclass(torch.Tensor).numpy()


@pytest.mark.parametrize("classes", [5, 40, 1031])
@pytest.mark.parametrize("scale", [0.02, 6.0])
def test_probabilities(name, classes, scale, on_cuda, rng):
    x = (scale * rng.normal(size=(7, classes))).astype("float32")
    x[1, 2:] = -np.inf
    x[2] = np.nan
    found = FUNCTIONS[name](on_cuda(x))
    assert type(found).__name__ == "OnCuda"
    rest = [0, 1, 3, 4, 5, 6]
    np.testing.assert_allclose(plain(found)[rest], reference.HEADS[name](x[rest]), atol=2e-6)
    assert np.all(np.isnan(plain(found)[2]))
    assert _last_axis.largest(on_cuda(x)).shape == (7, 1)


@pytest.mark.parametrize("classes", [5, 40, 1031])
def test_losses(name, classes, on_cuda, rng):
    x = rng.normal(size=(6, classes)).astype("float32")
    labels = rng.integers(0, classes, 6)
    loss = LOSSES[name](reduction=None)
    expected = plain(loss(labels, x))
    labels[[2, 3]] = [-1, classes]
    weights = np.array([1, 1, 0, 1, 1, 1], "float32")
    logits = on_cuda(x).requires_grad_()
    found = loss(on_cuda(labels), logits, on_cuda(weights))
    expected[[2, 3]] = [0, np.nan]
    np.testing.assert_allclose(plain(found), expected, rtol=1e-5, atol=1e-6)
    found[[0, 1, 2, 4, 5]].sum().backward()
    slopes = plain(logits.grad)[[0, 1, 2, 4, 5]]
    y = np.eye(classes)[labels[[0, 1, 4, 5]]]
    p = reference.HEADS[name](x[[0, 1, 4, 5]])
    np.testing.assert_allclose(slopes[[0, 1, 3, 4]], p - y, atol=1e-5)
    assert np.all(slopes[2] == 0)
