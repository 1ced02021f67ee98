"""`check_loss`: which models train a sparse head by cross-entropy, and which do not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sac import Entmax15, Entmax15Loss, Sparsemax, SparsemaxLoss, entmax15, sparsemax
from keras_sac import swap_head as swap
from keras_sac.heads import check_loss

LAYERS = {"sparsemax": Sparsemax, "entmax15": Entmax15}
FUNCTIONS = {Sparsemax: sparsemax, Entmax15: entmax15}
X = np.ones((4, 4), "float32")
Y = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
CROSS_ENTROPIES = [
    "crossentropy",
    "ce",
    "bce",
    "kld",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "CategoricalCrossentropy",
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    keras.losses.CategoricalFocalCrossentropy(),
    keras.losses.KLDivergence(),
    ["sparse_categorical_crossentropy"],
]


@pytest.fixture(params=LAYERS)
def name(request):
    return request.param


def functional(head):
    inputs = keras.Input((4,))
    return keras.Model(inputs, head(inputs))


def of_layer(kind):
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), kind()])


def of_activation(kind):
    return functional(layers.Dense(3, activation=FUNCTIONS[kind]))


def of_activation_layer(kind):
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.Activation(FUNCTIONS[kind])]
    )


def nested(kind):
    return keras.Sequential([keras.Input((4,)), of_layer(kind)])


class Subclassed(keras.Model):
    """Its graph is not known, so the layer of its output is observed in a call."""

    def __init__(self, head):
        super().__init__()
        self.dense, self.head = layers.Dense(3), head

    def call(self, inputs):
        return self.head(self.dense(inputs))


def subclassed(kind):
    model = Subclassed(kind())
    model(X)
    return model


def nested_subclassed(kind):
    return functional(subclassed(kind))


MODELS = [of_layer, of_activation, of_activation_layer, nested, subclassed, nested_subclassed]


def compiled(model, loss, **kwargs):
    model.compile("sgd", loss, **kwargs)
    return model


@pytest.mark.parametrize("make", MODELS)
def test_cross_entropy_on_a_sparse_head_is_an_error(name, make):
    model = compiled(make(LAYERS[name]), "sparse_categorical_crossentropy")
    right = f"keras_sac.{LAYERS[name].__name__}Loss"
    with pytest.raises(ValueError, match=f"loss='sparse_categorical_crossentropy'.*{right}"):
        check_loss(model)
    # Nothing else is refused: the model works as before.
    assert model.predict(X, verbose=0).shape == (4, 3)


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_every_spelling_of_cross_entropy(loss):
    with pytest.raises(ValueError, match="infinite where a probability is 0"):
        check_loss(compiled(of_layer(Sparsemax), loss))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(
    "loss", ["mse", keras.losses.MeanAbsoluteError(), lambda y, p: p - y, None]
)
def test_other_losses_pass(make, loss):
    assert check_loss(compiled(make(Sparsemax), loss)) is None


def test_cross_entropy_passes_on_other_heads():
    softmax = functional(layers.Dense(3, activation="softmax"))
    assert check_loss(compiled(softmax, "categorical_crossentropy")) is None
    inside = keras.Sequential([keras.Input((4,)), of_layer(Sparsemax), layers.Dense(3)])
    assert check_loss(compiled(inside, "categorical_crossentropy")) is None


def test_the_recipe_passes(name):
    loss = {"sparsemax": SparsemaxLoss, "entmax15": Entmax15Loss}[name]
    logits = compiled(swap(of_layer(LAYERS[name]), "linear"), loss())
    assert check_loss(logits) is None
    logits.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=f"keras_sac.{loss.__name__}"):
        check_loss(compiled(swap(logits, name), "categorical_crossentropy"))


def two_outputs():
    inputs = keras.Input((4,))
    sparse = Sparsemax(name="sparse")(layers.Dense(3)(inputs))
    dense = layers.Dense(3, activation="softmax", name="dense")(inputs)
    return inputs, sparse, dense


def test_losses_by_the_names_of_the_outputs():
    inputs, sparse, dense = two_outputs()
    model = keras.Model(inputs, {"sparse": sparse, "dense": dense})
    cross_entropy = "categorical_crossentropy"
    with pytest.raises(ValueError, match="The sparse head 'sparse'"):
        check_loss(compiled(model, {"sparse": cross_entropy, "dense": "mse"}))
    assert check_loss(compiled(model, {"sparse": "mse", "dense": cross_entropy})) is None
    assert check_loss(compiled(model, {"dense": cross_entropy})) is None


def test_losses_by_keys_that_are_no_names():
    inputs, sparse, dense = two_outputs()
    model = keras.Model(inputs, {"probabilities": sparse, "other": dense})
    with pytest.raises(ValueError, match="The sparse head 'sparse'"):
        check_loss(compiled(model, {"probabilities": "categorical_crossentropy", "other": "mse"}))
    assert (
        check_loss(compiled(model, {"probabilities": "mse", "other": "categorical_crossentropy"}))
        is None
    )


def test_losses_by_position():
    inputs, sparse, dense = two_outputs()
    model = keras.Model(inputs, [ops.softmax(dense), sparse, dense])
    losses = ["categorical_crossentropy", "mse", "categorical_crossentropy"]
    assert check_loss(compiled(model, losses)) is None
    with pytest.raises(ValueError, match="The sparse head 'sparse'"):
        check_loss(compiled(model, ["mse", "categorical_crossentropy", "mse"]))
    model = keras.Model(inputs, [sparse, dense])
    assert check_loss(compiled(model, [None, "categorical_crossentropy"])) is None


def test_losses_in_the_structure_of_nested_outputs():
    inputs, sparse, dense = two_outputs()
    model = keras.Model(inputs, {"both": [dense, sparse]})
    assert check_loss(compiled(model, {"both": ["categorical_crossentropy", "mse"]})) is None
    with pytest.raises(ValueError, match="The sparse head 'sparse'"):
        check_loss(compiled(model, {"both": ["mse", "categorical_crossentropy"]}))


class TwoHeads(keras.Model):
    def __init__(self):
        super().__init__()
        self.sparse = layers.Dense(3, activation=sparsemax, name="sparse")
        self.dense = layers.Dense(3, activation="softmax", name="dense")

    def call(self, inputs):
        return {"b": self.sparse(inputs), "a": self.dense(inputs)}


def test_the_outputs_of_a_subclassed_model_by_their_keys():
    model = TwoHeads()
    model(X)
    cross_entropy = "categorical_crossentropy"
    assert check_loss(compiled(model, {"a": cross_entropy, "b": "mse"})) is None
    with pytest.raises(ValueError, match="The sparse head 'sparse'"):
        check_loss(compiled(model, {"a": "mse", "b": cross_entropy}))


def test_a_head_on_every_time_step():
    model = keras.Sequential(
        [keras.Input((5, 4)), layers.TimeDistributed(layers.Dense(3, activation=sparsemax))]
    )
    with pytest.raises(ValueError, match="SparsemaxLoss"):
        check_loss(compiled(model, "categorical_crossentropy"))


class TakesTwo(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.head = layers.Dense(3), Sparsemax()

    def call(self, inputs):
        a, b = inputs
        return self.head(self.dense(a + b))


def test_a_subclassed_model_that_does_not_say_what_it_takes():
    model = compiled(TakesTwo(), "categorical_crossentropy")
    with pytest.raises(ValueError, match="Pass `sample=`"):
        check_loss(model)
    model([X, X])
    for sample in (None, [X, X]):
        with pytest.raises(ValueError, match="SparsemaxLoss"):
            check_loss(model, sample=sample)


class MarginLoss(keras.Model):
    """A legitimate loss of its own, although `compile` received a cross-entropy."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y - y_pred))


@pytest.mark.parametrize("loss", ["categorical_crossentropy", None])
def test_a_model_with_its_own_loss_passes_and_trains(loss):
    inputs = keras.Input((4,))
    model = MarginLoss(inputs, Sparsemax()(layers.Dense(3)(inputs)))
    assert check_loss(compiled(model, loss)) is None
    before = model.get_weights()[0]
    history = model.fit(X, Y, epochs=2, verbose=0).history["loss"]
    assert np.all(np.isfinite(history))
    assert np.any(model.get_weights()[0] != before)


def test_cross_entropy_is_not_refused_behind_the_back_of_the_user():
    """`fit` is Keras' own: a model whose author knows what he does trains."""
    model = compiled(of_layer(Sparsemax), "categorical_crossentropy")
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("make", [lambda: of_layer(Sparsemax), lambda: layers.Dense(3)])
def test_the_model_must_be_compiled(make):
    with pytest.raises(ValueError, match="`model` must be a compiled `keras.Model`. Received: "):
        check_loss(make())
