"""`swap_head`: the same weights with another head, and the given model unchanged."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sac import Entmax15, SACDense, Sparsemax, SparsemaxLoss, sparsemax, swap_head
from tests.heads import reference


def numpy(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def dense():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def plain_layer():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(3)(layers.Dense(5)(inputs))))


def activation_layer():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Activation("softmax")])


def logits():
    inputs = keras.Input((4,))
    hidden = layers.BatchNormalization()(layers.Dense(4)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Add()([inputs, hidden])))


class OwnHead(layers.Layer):
    """A head whose class has no configuration."""

    def __init__(self, units):
        super().__init__(name="own_head")
        self.units, self.activation = units, keras.activations.softmax

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")

    def call(self, inputs):
        return self.activation(inputs @ self.kernel)


def without_configuration():
    inputs = keras.Input((4,))
    hidden = layers.Lambda(lambda x: x - 1.0)(layers.Dense(4)(inputs) * 2.0 + inputs)
    return keras.Model(inputs, OwnHead(3)(hidden))


def nested():
    return keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), dense()])


def normalized():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3.0, 2.0, (50, 4)))
    inputs = keras.Input((4,))
    outputs = layers.Dense(3, activation="softmax")(normalization(inputs))
    return keras.Model(inputs, {"classes": outputs})


def subspace():
    return keras.Sequential(
        [keras.Input((4,)), SACDense(3, "random", rank=2, seed=1, activation="softmax")]
    )


def keras_own():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation=keras.activations.sparsemax)]
    )


MODELS = [
    *(
        dense,
        plain_layer,
        activation_layer,
        logits,
        nested,
        subspace,
        keras_own,
    )
]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("head", ["sparsemax", "entmax15", "softmax"])
def test_outputs(make, head, rng, tmp_path):
    model = make()
    for variable in model.variables:
        if variable.name == "moving_variance":
            variable.assign(0.5 + rng.random(variable.shape))
    x = rng.normal(size=(6, 4)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    z = swap_head(model, "linear").predict(x, verbose=0)
    exact = {**reference.HEADS, "softmax": lambda z: numpy(keras.activations.softmax(z))}[head]
    new = swap_head(model, head)
    p = new.predict(x, verbose=0)
    np.testing.assert_allclose(p, exact(z), atol=1e-6)
    assert [w.name for w in new.weights] == [w.name for w in model.weights]
    new.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), p, atol=1e-7)
    # A copy: what is done to it leaves the model alone.
    new.set_weights([np.zeros_like(w) for w in before])
    for old, kept in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, kept)
    np.testing.assert_allclose(swap_head(swap_head(model, head), "linear").predict(x, verbose=0), z)


def test_a_head_whose_class_has_no_configuration(rng):
    model = without_configuration()
    x = rng.normal(size=(6, 4)).astype("float32")
    z = swap_head(model, "linear").predict(x, verbose=0)
    new = swap_head(model, "sparsemax")
    np.testing.assert_allclose(new.predict(x, verbose=0), reference.sparsemax(z), atol=1e-6)
    softmax = numpy(keras.activations.softmax(z))
    np.testing.assert_allclose(model.predict(x, verbose=0), softmax, atol=1e-6)


def test_logits_are_trained_and_the_head_put_on(rng):
    x = rng.normal(size=(300, 4)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(4, 3)), axis=1)
    model = swap_head(dense(), "linear")
    model.compile("adam", SparsemaxLoss(), metrics=["accuracy"])
    model.fit(x, y, epochs=3, verbose=0)
    classifier = swap_head(model, "sparsemax")
    assert classifier.layers[-1].activation is sparsemax
    p = classifier.predict(x, verbose=0)
    np.testing.assert_array_equal(p.argmax(axis=1), model.predict(x, verbose=0).argmax(axis=1))
    assert (p == 0).any()


def test_adapted_layers_and_dictionaries_of_outputs(rng):
    model = normalized()
    x = rng.normal(3.0, 2.0, size=(6, 4)).astype("float32")
    z = swap_head(model, "linear").predict(x, verbose=0)["classes"]
    p = swap_head(model, "sparsemax").predict(x, verbose=0)["classes"]
    np.testing.assert_allclose(p, reference.sparsemax(z), atol=1e-6)
    softmax = swap_head(model, "softmax").predict(x, verbose=0)["classes"]
    np.testing.assert_allclose(softmax, model.predict(x, verbose=0)["classes"], atol=1e-6)


def test_the_axis_comes_back(rng, tmp_path):
    inputs = keras.Input((3, 4))
    model = keras.Model(inputs, layers.Softmax(axis=1)(layers.Dense(2)(inputs)))
    logits = swap_head(model, "linear")
    logits.save(tmp_path / "logits.keras")
    loaded = keras.models.load_model(tmp_path / "logits.keras")
    x = rng.normal(size=(5, 3, 4)).astype("float32")
    z = loaded.predict(x, verbose=0)
    p = swap_head(loaded, "sparsemax").predict(x, verbose=0)
    np.testing.assert_allclose(p, reference.sparsemax(z, 1), atol=1e-6)


def test_adapted_text(rng):
    lookup = layers.StringLookup(output_mode="multi_hot")
    lookup.adapt(["a", "b", "c"])
    inputs = keras.Input((2,), dtype="string")
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(lookup(inputs)))
    new = swap_head(model, "linear")
    assert new.layers[1].get_vocabulary() == lookup.get_vocabulary()


def test_the_copy_is_not_compiled(rng):
    model = nested()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(rng.normal(size=(8, 4)), rng.integers(0, 3, 8), verbose=0)
    assert not swap_head(model).compiled
    assert model.compiled


def test_layers_without_weights_become_layers():
    assert isinstance(swap_head(plain_layer(), "sparsemax").layers[-1], Sparsemax)
    assert isinstance(swap_head(activation_layer(), "entmax15").layers[-1], Entmax15)
    model = keras.Sequential([keras.Input((3, 4)), layers.Dense(2), layers.Softmax(axis=1)])
    assert swap_head(model, "sparsemax").layers[-1].axis == 1


def test_several_outputs(rng):
    inputs = keras.Input((4,))
    a = layers.Dense(3, activation="softmax", name="a")(inputs)
    b = layers.Dense(2, activation="softmax", name="b")(inputs)
    model = keras.Model(inputs, [a, b])
    x = rng.normal(size=(5, 4)).astype("float32")
    with pytest.raises(ValueError, match=r"exactly one output layer.*targets=None.* 2: 'a', 'b'"):
        swap_head(model)
    with pytest.raises(ValueError, match=r"targets='\[ab\]', which selects 2: 'a', 'b'"):
        swap_head(model, targets="[ab]")
    with pytest.raises(ValueError, match="nothing that can be swapped.*Available: a; b"):
        swap_head(model, targets="c")
    old = model.predict(x, verbose=0)
    layer = model.get_layer("b")
    for targets in ("b", layer, layer.kernel, lambda variable: variable is layer.bias):
        new = swap_head(model, targets=targets).predict(x, verbose=0)
        np.testing.assert_array_equal(new[0], old[0])
        assert np.any(new[1] != old[1])


def test_a_layer_that_makes_two_outputs_is_one_head():
    a, b = keras.Input((4,)), keras.Input((4,))
    shared = layers.Dense(3, activation="softmax")
    new = swap_head(keras.Model([a, b], [shared(a), shared(b)]))
    assert new.layers[-1].activation is sparsemax
    with pytest.raises(ValueError, match=r"selects 0: none\."):
        swap_head(keras.Model(a, ops.softmax(a)))


def test_hidden_layers_keep_the_activation_of_keras():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="sparsemax"), layers.Dense(3)]
    )
    assert swap_head(model).layers[0].activation is keras.activations.sparsemax


class Own(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("model", "head", "message"),
    [
        (dense, "hardmax", "must be one of 'sparsemax', 'entmax15', 'softmax', 'linear'"),
        (Own, "sparsemax", "needs a Functional or Sequential model"),
        (lambda: layers.Dense(3), "sparsemax", "needs a Functional or Sequential model"),
        (lambda: keras.Sequential([layers.Dense(3)]), "sparsemax", "has no weights yet"),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")]),
            "sparsemax",
            "must be a head over at least two classes: .* activation='sigmoid' and one unit",
        ),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(1)]),
            "sparsemax",
            "Received: activation='linear' and one unit",
        ),
        (
            lambda: keras.Sequential([keras.Input((4, 2)), layers.Softmax(axis=[1, 2])]),
            "sparsemax",
            r"must have one axis of classes to be swapped. Received: axis=\[1, 2\]",
        ),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Flatten()]),
            "sparsemax",
            "must be a head over at least two classes: .* Received: activation=None",
        ),
    ],
)
def test_bad_input(model, head, message):
    with pytest.raises(ValueError, match=message):
        swap_head(model(), head)
