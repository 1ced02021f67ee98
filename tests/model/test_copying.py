"""A copy of a model with other layers in it: weights, sharing, nesting, and the model as it was."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac._model._copying import copied, is_graph, reachable_layers


def nothing(layer):
    return None


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
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, inputs):
        return self.inner(inputs)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def composite():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    hidden = Own(5, name="own")(layers.Add()(list(inputs.values())))
    return keras.Model(inputs, [layers.Dense(2)(hidden), layers.Activation("relu")(hidden)])


def inputs_of(model, rng):
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(
        lambda each: rng.normal(size=(3, *each.shape[1:])).astype("float32"), structure
    )


def described(variables):
    return [(each.name, each.shape) for each in variables]


@pytest.mark.parametrize("make", [shared_inside_and_outside, frozen_and_compiled, composite])
def test_a_copy_computes_the_same_and_is_a_copy(make, rng):
    model = make()
    x = inputs_of(model, rng)
    before = keras.tree.flatten(model.predict(x, verbose=0))
    compiled = model.compiled
    new = copied(model, nothing)
    assert described(new.weights) == described(model.weights)
    assert described(new.trainable_weights) == described(model.trainable_weights)
    assert [each.name for each in new.layers] == [each.name for each in model.layers]
    assert not new.compiled
    assert model.compiled == compiled
    for one, other in zip(keras.tree.flatten(new.predict(x, verbose=0)), before, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    new.set_weights([np.ones_like(w) for w in new.get_weights()])
    for one, other in zip(keras.tree.flatten(model.predict(x, verbose=0)), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_shared_layer_is_asked_for_once_and_stays_one(rng):
    model = shared_inside_and_outside()
    asked = []
    copied(model, lambda layer: asked.append(layer.name))
    assert sorted(asked) == sorted(layer.name for layer in reachable_layers(model))
    assert asked.count("shared") == 1
    assert len(copied(model, nothing).weights) == 4


def test_what_is_put_in_keeps_its_weights_if_it_is_built(rng):
    model = shared_inside_and_outside()
    last = layers.Dense(3, activation="tanh", name="last")
    last.build((None, 4))
    last.set_weights([np.eye(4, 3), np.arange(3.0)])
    fresh = layers.Dense(4, activation="relu", name="shared")
    new = copied(model, lambda layer: {"last": last, "shared": fresh}.get(layer.name))
    assert new.get_layer("last") is last
    np.testing.assert_array_equal(last.get_weights()[0], np.eye(4, 3))
    x = rng.normal(size=(2, 4)).astype("float32")
    kernel, bias = model.get_layer("shared").get_weights()
    hidden = x
    for _ in range(2):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    exact = np.tanh(hidden @ np.eye(4, 3) + np.arange(3.0))
    np.testing.assert_allclose(new.predict(x, verbose=0), exact, atol=1e-5)


def test_layers_inside_composite_layers_are_not_reached():
    names = [layer.name for layer in reachable_layers(composite())]
    assert "own" in names
    assert not any(name.startswith("dense") and "own" in name for name in names)
    assert all(
        not isinstance(each, keras.Model) for each in reachable_layers(frozen_and_compiled())
    )


class Plain(keras.Model):
    def call(self, inputs):
        return inputs


def test_which_models_are_graphs():
    assert is_graph(composite())
    assert is_graph(frozen_and_compiled())
    assert not is_graph(Plain())
    assert not is_graph(layers.Dense(2))
