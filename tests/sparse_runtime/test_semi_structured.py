"""2:4 products: which kernels can use them, and the layer around the product (a GPU runs it)."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac.sparse_runtime._layer_choice import candidate
from keras_sac.sparse_runtime._semi_structured import (
    SemiStructuredDense,
    capability,
    semi_structured_of,
    why_not_semi_structured,
)

AMPERE = (8, 0)


def two_in_four(rng, in_dim=64, units=32):
    keep = rng.random((in_dim // 4, 4, units)).argsort(axis=1) < 2
    return rng.normal(size=(in_dim, units)) * keep.reshape(in_dim, units)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("found", [(8, 0), (8, 6), (9, 0), (12, 0)])
def test_what_may_run(rng, dtype, found):
    assert why_not_semi_structured(two_in_four(rng), dtype, found) is None
    assert why_not_semi_structured(np.zeros((128, 96)), dtype, found) is None


def test_what_may_not(rng):
    kernel = two_in_four(rng)
    assert "torch on a GPU" in why_not_semi_structured(kernel, "float16", None)
    assert "8.0; this one has 7.5" in why_not_semi_structured(kernel, "float16", (7, 5))
    assert "not float32" in why_not_semi_structured(kernel, "float32", AMPERE)
    for shape in ((60, 32), (64, 31), (32, 32), (64, 16)):
        assert "multiples of 64" in why_not_semi_structured(np.zeros(shape), "float16", AMPERE)


def test_the_zeros_must_be_along_the_inputs(rng):
    kernel = two_in_four(rng, 64, 64)
    assert "group of four inputs" in why_not_semi_structured(kernel.T, "float16", AMPERE)
    # As many zeros, one of them in the wrong place.
    one, many = kernel[:4, 0], kernel[4:8, 0]
    one[:], many[:] = [1, 2, 3, 0], [4, 0, 0, 0]
    assert "group of four inputs" in why_not_semi_structured(kernel, "float16", AMPERE)


def test_there_is_none_on_this_machine_or_there_is():
    found = capability()
    if keras.backend.backend() != "torch":
        assert found is None
        return
    import torch

    assert (found is None) == (not torch.cuda.is_available())


@pytest.mark.parametrize("backend", ["torch"])
def test_the_layer_around_the_product(rng, monkeypatch, backend, tmp_path):
    if keras.backend.backend() != backend:
        return  # The format is torch's.
    import torch

    packed = []

    def dense(tensor):
        packed.append(tensor)
        return tensor

    # On a GPU the compressed matrix is multiplied by the same function.
    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", dense)
    monkeypatch.setattr("keras_sac.sparse_runtime._layer_choice.capability", lambda: AMPERE)
    layer = layers.Conv1D(32, 1, strides=2, activation="relu", dtype="mixed_bfloat16")
    layer.build((None, 6, 64))
    layer.set_weights([two_in_four(rng)[None], rng.normal(size=32)])
    kind, make = candidate(layer)
    assert kind == "2:4"
    new = make()
    assert isinstance(new, SemiStructuredDense)
    assert packed[0].dtype == torch.bfloat16
    assert packed[0].shape == (32, 64)
    assert packed[0].is_contiguous()
    model = keras.Sequential([keras.Input((6, 64)), new])
    x = rng.normal(size=(3, 6, 64)).astype("float32")
    reference = keras.Sequential([keras.Input((6, 64)), layer])
    ours, theirs = (m.predict(x, verbose=0).astype("float32") for m in (model, reference))
    np.testing.assert_allclose(ours, theirs, atol=0.2)
    with pytest.raises(NotImplementedError, match="save_sparse"):
        model.save(tmp_path / "model.keras")
    again = semi_structured_of(layer)
    assert again.trainable_weights == []
