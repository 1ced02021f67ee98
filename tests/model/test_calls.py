"""What is seen of a model leaves it as it was."""

import keras
import numpy as np
import pytest

from keras_sac import activation_sparsity
from tests.analysis.counting import counted, rows

layers = keras.layers


@pytest.fixture
def x(rng):
    return rng.normal(size=(23, 6)).astype("float32")


def test_what_a_backend_compiles_by_itself_is_unknown(x):
    with keras.RematScope(mode="full"):
        first = layers.Dense(5, "relu", name="a")
    model = keras.Sequential([keras.Input((6,)), first, layers.ReLU(name="b")])
    table = activation_sparsity(model, x).set_index("layer")
    known = table.loc["b"]
    assert known["sparsity"] == table.loc["a", "sparsity"] or np.isnan(table.loc["a", "zeros"])
    expected = known["activations"] + np.nan_to_num(table.loc["a", "activations"])
    assert table.attrs["total"]["activations"] == expected
    assert np.isnan(table.loc["a", "sparsity"]) == (keras.backend.backend() == "jax")


class Stateful(layers.Layer):
    def build(self, input_shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        self.add_loss(keras.ops.sum(inputs))
        return inputs * self.calls


def stateful_model():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(),
            layers.Dense(4, "relu", activity_regularizer="l1", name="dense"),
            layers.Dropout(0.5),
            Stateful(name="stateful"),
        ]
    )


def parts(model):
    """Everything of a model that a forward pass could change."""
    found = model._flatten_layers()
    return (
        [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables],
        [sorted(name for name in vars(layer) if name != "_losses") for layer in found],
        [vars(layer).get("build") for layer in found],
        [len(layer._losses) for layer in found],
        [layer.built for layer in found],
    )


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_it_was(x, fails):
    model = stateful_model()
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((23, 4)), verbose=0)
    expected = model.predict(x, verbose=0)
    calls = float(keras.ops.convert_to_numpy(model.layers[-1].calls))
    before = parts(model)

    def batches():
        yield x[:5]
        if fails:
            raise RuntimeError("the disk is gone")

    if fails:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            activation_sparsity(model, batches())
    else:
        activation_sparsity(model, batches())
    after = parts(model)
    for old, new in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(old, new)
    assert before[1:] == after[1:]
    assert not any("call" in vars(layer) for layer in model._flatten_layers())
    assert float(keras.ops.convert_to_numpy(model.layers[-1].calls)) == calls
    # And it can be trained and saved as before; each batch of `predict` counts its calls.
    again = model.predict(x, verbose=0)
    np.testing.assert_allclose(again, expected / calls * (calls + 1), rtol=1e-5)
    assert keras.models.clone_model(model).count_params() == model.count_params()
    model.fit(x, np.zeros((23, 4)), verbose=0)


class Skipping(Stateful):
    def call(self, inputs):
        out = inputs * self.calls
        self.calls.assign_add(1.0)
        return out


def test_a_state_lasts_from_batch_to_batch(x):
    model = keras.Sequential([keras.Input((6,)), Skipping(name="skipping")])
    found = rows(activation_sparsity(model, np.ones_like(x), batch_size=20))
    # The second batch, of three samples, is multiplied by one.
    assert found == {"skipping": (6, pytest.approx(20 * 6 / 23))}


class Lazy(keras.Model):
    """Says that it is built, and is not."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2, name="late")
        self.built = True

    def call(self, inputs):
        return self.dense(inputs)


def test_layers_that_are_not_built_are_not_built_here(x):
    model = Lazy()
    with pytest.raises(ValueError, match="The layer 'late' has no weights yet"):
        activation_sparsity(model, x)
    assert not model.dense.built
    assert model.dense.weights == []
    assert model(x).shape == (23, 2)


def test_quantized_layers(x):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu", name="a")])
    model.get_layer("a").quantize("int8")
    found = rows(activation_sparsity(model, x))
    assert found == {"a": counted(model.predict(x, verbose=0))}
