"""SAC layers in common models and training loops."""

import keras
import numpy as np
import pytest

from keras_sac import SACConv2D, SACDense, bases


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def problem(rng):
    """Four classes whose means lie in a plane."""
    labels = np.arange(256) % 4
    plane, _ = np.linalg.qr(rng.normal(size=(16, 2)))
    means = 4 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]) @ plane.T
    return (means[labels] + rng.normal(size=(256, 16))).astype("float32"), labels


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model that is no graph of layers, with a nested one in it."""

    def __init__(self, rank=3, **kwargs):
        super().__init__(**kwargs)
        self.rank = rank
        self.sac = SACDense(12, "pca", rank=rank, activation="relu")
        self.tail = keras.Sequential([SACDense(8, "random", rank=4, seed=1), keras.layers.Dense(4)])

    def call(self, x, training=None):
        return self.tail(self.sac(x), training=training)

    def get_config(self):
        return {**super().get_config(), "rank": self.rank}


def sequential(x):
    return keras.Sequential(
        [
            keras.Input((16,)),
            SACDense(12, bases.pca(x, rank=3), activation="relu"),
            keras.layers.Dense(4),
        ]
    )


def compiled(model, **kwargs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"], **kwargs)
    return model


def accuracy(model, x, y):
    return model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]


# Keras has no steps_per_execution on torch, and says so.
SEVERAL_STEPS = [] if keras.backend.backend() == "torch" else [{"steps_per_execution": 3}]


@pytest.mark.parametrize(
    "kwargs", [{}, {"jit_compile": False}, {"run_eagerly": True}, *SEVERAL_STEPS], ids=str
)
def test_compiled_in_every_way_it_learns(problem, kwargs):
    x, y = problem
    model = compiled(sequential(x), **kwargs)
    basis = numpy(model.layers[0].basis).copy()
    model.fit(x, y, batch_size=32, epochs=6, verbose=0)
    assert accuracy(model, x, y) > 0.9
    np.testing.assert_array_equal(numpy(model.layers[0].basis), basis)


@pytest.mark.slow
# torch.compile looks at the gradients of intermediate values, and torch warns of it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_jit_compile_on_every_backend(problem):
    # On torch this is torch.compile, which takes its time.
    x, y = problem
    model = compiled(sequential(x), jit_compile=True)
    model.fit(x, y, batch_size=32, epochs=6, verbose=0)
    assert accuracy(model, x, y) > 0.9


def test_all_ways_to_compile_give_the_same_weights(problem):
    x, y = problem
    start, results = sequential(x).get_weights(), []
    for kwargs in ({}, {"run_eagerly": True}, *SEVERAL_STEPS):
        model = compiled(sequential(x), **kwargs)
        model.set_weights(start)
        model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=2e-4)


def test_a_subclassed_model_with_a_nested_one(problem, tmp_path):
    x, y = problem
    model = Subclassed()
    model.sac.adapt(x)
    compiled(model).fit(x, y, batch_size=32, epochs=6, verbose=0)
    assert accuracy(model, x, y) > 0.9
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    again.fit(x, y, batch_size=32, epochs=1, verbose=0)


def test_weights_files_carry_the_basis(problem, tmp_path):
    x, _ = problem
    model = sequential(x)
    model.save_weights(tmp_path / "model.weights.h5")
    other = keras.Sequential(
        [
            keras.Input((16,)),
            SACDense(12, "pca", rank=3, activation="relu"),
            keras.layers.Dense(4),
        ]
    )
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))


def test_gradient_accumulation_and_mixed_precision(problem):
    x, y = problem
    basis = bases.pca(x, rank=3)
    model = keras.Sequential(
        [
            keras.Input((16,)),
            SACDense(12, basis, activation="relu", dtype="mixed_float16"),
            keras.layers.Dense(4, dtype="mixed_float16"),
            keras.layers.Activation("linear", dtype="float32"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.02, gradient_accumulation_steps=2)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)
    assert accuracy(model, x, y) > 0.9
    assert model.layers[0].learner.dtype == "float32"


def test_a_convolutional_model_on_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[..., None] / 16).astype("float32")
    y = digits.target
    train, test = slice(0, 1200), slice(1200, None)
    conv = SACConv2D(24, 3, "pca", rank=6, padding="same", activation="relu")
    conv.adapt(x[train])
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            conv,
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    compiled(model).fit(x[train], y[train], batch_size=32, epochs=8, verbose=0)
    assert accuracy(model, x[test], y[test]) > 0.9


def test_merged_layers_make_the_same_model(problem):
    x, _ = problem
    model = sequential(x)
    merged = keras.Sequential([keras.Input((16,)), model.layers[0].to_dense(), *model.layers[1:]])
    np.testing.assert_allclose(merged.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
