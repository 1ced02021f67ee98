"""Copies of layers and models: the same outputs, no shared variable, the original as it was."""

import collections

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sac._model import Copies, is_graph, reachable_layers


def shared_inside_and_outside():
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, layers.Dense(3, name="last")(inner(shared(inputs))))


def frozen_and_compiled():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, trainable=False), layers.BatchNormalization()]
    )
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3), layers.Dense(2)])
    inner.trainable = False
    model.add(inner)
    inner.compile("sgd", "mse")
    model.compile("sgd", "mse")
    return model


class Own(keras.layers.Layer):
    """Has no configuration, and holds layers in a list, a dict and behind a bound method."""

    def __init__(self, units):
        super().__init__(name="own")
        self.inner = layers.Dense(units)
        self.listed = [layers.Dense(units), (layers.Dense(units), 3)]
        self.named = collections.OrderedDict(a=layers.Dense(units))
        self.again = self.listed[0]
        self.function = self.inner.call

    def build(self, shape):
        for each in (self.inner, self.listed[0], self.listed[1][0], self.named["a"]):
            each.build(shape)
        self.count = self.add_weight(shape=(), trainable=False, name="count")
        self.late = self.add_weight(shape=(), initializer="ones", name="late")

    def call(self, inputs):
        self.count.assign(self.count + 1)
        hidden = self.function(self.inner(inputs)) + self.named["a"](inputs)
        return self.again(hidden) * self.late + self.listed[1][0](hidden)


def composite():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    hidden = Own(4)(layers.Add()(list(inputs.values())))
    return keras.Model(inputs, [layers.Dense(2)(hidden), layers.Activation("relu")(hidden)])


def operators():
    inputs = keras.Input((4,))
    hidden = layers.Dense(4)(inputs)
    constant = ops.convert_to_tensor([1.0, 2.0, 3.0, 4.0])
    hidden = ops.where(hidden > 0, hidden - inputs * 2, -hidden / 3 + constant)
    return keras.Model(inputs, layers.Dense(2)(ops.reshape(hidden, (-1, 2, 2))[:, 0]))


def python_function():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(layers.Lambda(lambda x: x * 2.0)(inputs)))


def masked():
    inputs = keras.Input((4,), dtype="int32")
    hidden = layers.Embedding(10, 6, mask_zero=True)(inputs)
    hidden = layers.MultiHeadAttention(2, 3)(hidden, hidden) + hidden
    return keras.Model(inputs, layers.Bidirectional(layers.LSTM(3))(hidden))


def adapted():
    bins = layers.Discretization(num_bins=4)
    bins.adapt(np.arange(10.0))
    scaled = layers.Normalization()
    scaled.adapt(np.random.default_rng(0).normal(5, 3, (50, 4)))
    inputs = keras.Input((4,))
    binned = layers.Flatten()(layers.Embedding(4, 3)(bins(inputs)))
    return keras.Model(inputs, layers.Dense(2)(ops.concatenate([binned, scaled(inputs)], -1)))


def images():
    model = keras.Sequential(
        [
            *(layers.RandomFlip(), layers.Conv2D(4, 3), layers.SeparableConv2D(3, 3)),
            *(layers.SpectralNormalization(layers.Conv2D(2, 1)), layers.GroupNormalization(1)),
            *(layers.DepthwiseConv2D(2), layers.Dropout(0.5), layers.Flatten(), layers.Dense(2)),
        ]
    )
    model.build((None, 8, 8, 3))
    return model


def in_half_precision():
    inputs = keras.Input((4,))
    policy = keras.DTypePolicy("mixed_float16")
    hidden = layers.TimeDistributed(layers.Dense(3, dtype=policy))(inputs[:, None, :])
    return keras.Model(inputs, layers.GRU(2, dtype="float32")(hidden))


MAKERS = [
    *(shared_inside_and_outside, frozen_and_compiled, composite, operators, python_function),
    *(masked, adapted, images, in_half_precision),
]


def inputs_of(model, rng):
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda each: np.abs(rng.normal(3, 1, size=(3, *each.shape[1:]))).astype(each.dtype),
        structure,
    )


def described(variables):
    return [(each.path, each.shape, each.dtype, each.trainable) for each in variables]


def outputs(model, x):
    return [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]


@pytest.mark.parametrize("make", MAKERS)
def test_a_copy_computes_the_same_and_shares_no_variable(make, rng):
    model = make()
    x = inputs_of(model, rng)
    before, compiled = outputs(model, x), model.compiled
    new = Copies().of(model)
    assert described(new.variables) == described(model.variables)
    assert described(new.trainable_weights) == described(model.trainable_weights)
    assert [each.name for each in new.layers] == [each.name for each in model.layers]
    assert not new.compiled
    assert model.compiled == compiled
    for one, other in zip(outputs(new, x), before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not {id(v) for v in new.variables} & {id(v) for v in model.variables}
    new.set_weights([np.ones_like(w) for w in new.get_weights()])
    for one, other in zip(outputs(model, x), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("make", [composite, masked, images])
def test_a_copy_trains_as_the_original_would(make, rng):
    model = make()
    x = inputs_of(model, rng)
    y = [np.ones_like(each) for each in outputs(model, x)]
    new = Copies().of(model)
    for each in (new, model):
        keras.utils.set_random_seed(0)
        each.compile(keras.optimizers.SGD(0.1), ["mse"] * len(y))
        each.fit(x, y, epochs=2, batch_size=3, verbose=0)
    for one, other in zip(new.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_copy_is_saved_with_what_was_adapted(rng, tmp_path):
    model = adapted()
    x = inputs_of(model, rng)
    new = Copies().of(model)
    new.save(tmp_path / "new.keras")
    loaded = keras.saving.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_constant_tensors_between_layers_keep_their_dtype(rng):
    inputs = keras.Input((4,), dtype="bfloat16")
    constant = ops.cast(ops.sqrt(16.0), "bfloat16")
    model = keras.Model(inputs, layers.Dense(3, dtype="bfloat16")(inputs) * constant)
    x = rng.normal(size=(3, 4)).astype("float32")
    found, expected = Copies().of(model)(x), model(x)
    assert keras.backend.standardize_dtype(expected.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"


def test_what_a_layer_of_a_user_holds_is_copied_once(rng):
    own = composite().get_layer("own")
    new = Copies().of(own)
    assert type(new) is Own
    assert new.again is new.listed[0]
    assert new.again is not own.again
    assert new.function.__self__ is new.inner
    assert isinstance(new.named, collections.OrderedDict)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        new.more = layers.Dense(2)


class Subclassed(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.blocks = [layers.Dense(units), Own(units)]
        self.graph = keras.Sequential([keras.Input((units,)), layers.Dense(2)])

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.graph(inputs)


def test_a_subclassed_model_that_was_trained(rng):
    model = Subclassed(4)
    x = rng.normal(size=(5, 3)).astype("float32")
    model.compile("adam", "mse")
    model.fit(x, np.ones((5, 2)), verbose=0)
    model.evaluate(x, np.ones((5, 2)), verbose=0)
    before = model.predict(x, verbose=0)
    new = Copies().of(model)
    assert not new.compiled
    assert getattr(new, "optimizer", None) is None
    np.testing.assert_array_equal(new.predict(x, verbose=0), before)
    new.compile("sgd", "mse")
    new.fit(x, np.ones((5, 2)), verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    model.fit(x, np.ones((5, 2)), verbose=0)


def test_a_layer_put_in_takes_the_place_of_every_use(rng):
    model = shared_inside_and_outside()
    last = layers.Dense(3, activation="tanh", name="last")
    last.build((None, 4))
    last.set_weights([np.eye(4, 3), np.arange(3.0)])
    shared = layers.Dense(4, name="shared")
    shared.build((None, 4))
    shared.set_weights([np.eye(4) * 2, np.ones(4)])
    copies = Copies()
    copies.put(model.get_layer("last"), last)
    copies.put(model.get_layer("shared"), shared)
    new = copies.of(model)
    assert new.get_layer("last") is last
    x = rng.normal(size=(2, 4)).astype("float32")
    exact = np.tanh((4 * x + 3) @ np.eye(4, 3) + np.arange(3.0))
    np.testing.assert_allclose(new.predict(x, verbose=0), exact, atol=1e-5)


def test_a_layer_is_put_into_a_composite_layer(rng):
    model = composite()
    own = model.get_layer("own")
    zero = layers.Dense(4)
    zero.build((None, 4))
    zero.kernel.assign(np.zeros((4, 4)))
    copies = Copies()
    for each in (own.again, own.listed[1][0]):
        copies.put(each, zero)
    hidden = copies.of(model).predict(inputs_of(model, rng), verbose=0)[1]
    np.testing.assert_array_equal(hidden, 0)
    assert np.abs(model.predict(inputs_of(model, rng), verbose=0)[1]).max() > 0


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="a module of torch")
def test_a_torch_module_shares_its_parameters_with_the_variables_of_its_copy(rng):
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    inputs = keras.Input((4,))
    layer = layers.TorchModuleWrapper(module, output_shape=(None, 3), name="module")
    model = keras.Model(inputs, layer(inputs))
    x = inputs_of(model, rng)
    before = model.predict(x, verbose=0)
    new = Copies().of(model)
    inner = new.get_layer("module")
    assert inner.module is not module
    pairs = zip(inner.module.parameters(), new.trainable_variables, strict=True)
    assert all(parameter is variable.value for parameter, variable in pairs)
    new.set_weights([np.ones_like(each) for each in new.get_weights()])
    assert np.abs(new.predict(x, verbose=0) - before).max() > 0
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_layers_inside_composite_layers_are_not_reached():
    names = [layer.name for layer in reachable_layers(composite())]
    assert "own" in names
    assert not any(name.startswith("dense") and "own" in name for name in names)
    assert all(
        not isinstance(each, keras.Model) for each in reachable_layers(frozen_and_compiled())
    )


def test_which_models_are_graphs():
    assert is_graph(composite())
    assert is_graph(frozen_and_compiled())
    assert not is_graph(Subclassed(2))
    assert not is_graph(layers.Dense(2))
