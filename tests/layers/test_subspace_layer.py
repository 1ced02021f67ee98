"""`SubspaceLayer`: a subclass outside of the package implements the abstract methods only."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sac import KernelAxes, LayerKind, merge_sac, register_layer
from keras_sac.layers import SubspaceLayer

ABSTRACT = {
    *("input_grid", "kernel_shape", "apply_basis", "apply_learner", "apply_kernel"),
    *("make_stock_layer", "make_basis_layer", "make_learner_layer"),
}


class Transposed(keras.layers.Layer):
    """A stock layer with the kernel `(units, in_dim)`, unlike all of Keras' own."""

    def __init__(self, units, use_bias=True, activation=None, **kwargs):
        for name in ("bias_regularizer", "bias_constraint"):
            kwargs.pop(name, None)
        super().__init__(**kwargs)
        self.units, self.use_bias = units, use_bias
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        self.kernel = self.add_weight((self.units, input_shape[-1]), name="kernel")
        self.bias = self.add_weight((self.units,), name="bias") if self.use_bias else None

    def call(self, inputs):
        outputs = ops.matmul(inputs, ops.transpose(self.kernel))
        return self.activation(outputs if self.bias is None else outputs + self.bias)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "use_bias": self.use_bias}


class TransposedKind(LayerKind):
    def kernels(self, layer):
        return {"kernel": KernelAxes(inputs=(1,), outputs=(0,))}

    def rows(self, layer, inputs):
        return inputs.reshape(-1, inputs.shape[-1])


def transposed(in_dim, units, **kwargs):
    layer = Transposed(units, **kwargs)
    layer.build((None, in_dim))
    return layer


class SACTransposed(SubspaceLayer):
    """The smallest possible subclass."""

    stock_class = Transposed

    def __init__(self, units, basis, **kwargs):
        super().__init__(basis, **kwargs)
        self.units = units

    def build(self, input_shape):
        self.add_subspace_weights(self.input_grid(input_shape), self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}

    def input_grid(self, input_shape):
        return (input_shape[-1],)

    def kernel_shape(self):
        return (self.units, self.in_dim)

    def apply_basis(self, inputs):
        return ops.matmul(inputs, self.basis)

    def apply_learner(self, projections):
        return ops.matmul(projections, self.learner)

    def apply_kernel(self, inputs, kernel):
        return ops.matmul(inputs, ops.transpose(kernel))

    def make_stock_layer(self, **kwargs):
        return transposed(self.in_dim, self.units, **kwargs)

    def make_basis_layer(self, **kwargs):
        return transposed(self.in_dim, self.rank, **kwargs)

    def make_learner_layer(self, **kwargs):
        return transposed(self.rank, self.units, **kwargs)


@pytest.fixture
def registered():
    register_layer(Transposed, TransposedKind())


@pytest.mark.parametrize("rank", [2, 8])
def test_a_subclass_is_adapted_called_merged_and_factored(rng, registered, rank):
    x = (rng.normal(size=(50, 9)) + 3).astype("float32")
    layer = SACTransposed(6, "pca", rank=rank, center=True, activation="tanh")
    layer.adapt(x)
    assert layer.is_factored(x) == (rank == 2)
    y = ops.convert_to_numpy(layer(x))
    assert tuple(layer.kernel.shape) == (6, 9)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.to_dense()(x)), y, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(layer.to_factors()(x)), y, atol=1e-5)
    model = keras.Sequential([keras.Input((9,)), layer])
    merged, report = merge_sac(model)
    assert type(merged.layers[0]) is Transposed
    assert report["type"].tolist() == ["SACTransposed"]
    np.testing.assert_allclose(merged.predict(x, verbose=0), y, atol=1e-5)


def test_the_error_names_missing_methods():
    assert SubspaceLayer.__abstractmethods__ == ABSTRACT

    class Half(SACTransposed):
        kernel_shape = SubspaceLayer.kernel_shape

    with pytest.raises(TypeError, match="abstract.*kernel_shape"):
        Half(3, "random", rank=2)


def test_a_stock_class_that_the_table_does_not_know():
    class Unknown(SACTransposed):
        stock_class = keras.layers.Flatten

    with pytest.raises(ValueError, match="`stock_class` must be in the table.*Received: Flatten"):
        Unknown(3, "random", rank=2).build((None, 4))


def test_every_hook_is_documented():
    optional = {
        *("rows", "is_factored", "broadcast_to_projections", "broadcast_to_outputs"),
        *("add_bias", "as_bias", "samples_at_once", "add_subspace_weights"),
    }
    for name in ABSTRACT | optional:
        assert "Return" in getattr(SubspaceLayer, name).__doc__ or name.startswith("add_sub"), name
