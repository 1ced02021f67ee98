"""The kernels of a whole model."""

import keras
import pytest

from keras_sac._model import check_model, kernels_of
from tests.model.models import ALL, ends, mixed

L = keras.layers


def test_the_kernels_trained_or_frozen():
    model = mixed()
    model.get_layer("conv").trainable = False
    kernels = kernels_of(model)
    assert ends(kernel.path for kernel in kernels) == ALL
    for kernel in kernels:
        assert (kernel.variable.path, tuple(kernel.variable.shape)) == (kernel.path, kernel.shape)


def test_the_layers_of_the_model_are_known():
    model = keras.Sequential([keras.Input((6, 6, 5)), L.Conv2DTranspose(5, 3, use_bias=False)])
    (kernel,) = kernels_of(model)
    assert kernel.output_axis == 2


def test_what_is_no_built_model_with_a_kernel():
    with pytest.raises(ValueError, match=r"Expected a `keras.Model`. Received: Dense"):
        check_model(L.Dense(2))
    with pytest.raises(ValueError, match="no weights yet"):
        check_model(keras.Sequential([L.Dense(2)]))
    with pytest.raises(ValueError, match="has no kernel.*gamma"):
        kernels_of(keras.Sequential([keras.Input((3,)), L.BatchNormalization()]))
