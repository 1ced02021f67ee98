"""A changed copy is compiled as the original was, with an optimizer of its own."""

import keras
import numpy as np

from keras_sac._model import compile_like


def model_of(width):
    inputs = keras.Input((3,))
    first = keras.layers.Dense(width, name="first")(inputs)
    return keras.Model(inputs, {"a": first, "b": keras.layers.Dense(2, name="second")(first)})


def test_the_arguments_of_compile_without_the_state():
    original, copy = model_of(4), model_of(5)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    original.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        loss={"a": "mse", "b": keras.losses.Huber(delta=2.0)},
        metrics={"a": [keras.metrics.MeanAbsoluteError(name="error")]},
        loss_weights={"a": 1.0, "b": 3.0},
    )
    x = np.ones((8, 3), "float32")
    y = {"a": np.zeros((8, 4), "float32"), "b": np.zeros((8, 2), "float32")}
    original.fit(x, y, epochs=2, verbose=0)
    compile_like(copy, original)
    assert copy.optimizer is not original.optimizer
    assert int(copy.optimizer.iterations) == 0
    assert (
        copy.optimizer.get_config()["learning_rate"]
        == (original.optimizer.get_config()["learning_rate"])
    )
    copy.fit(x, {**y, "a": np.zeros((8, 5), "float32")}, verbose=0)
    found = copy.evaluate(x, {**y, "a": np.zeros((8, 5), "float32")}, return_dict=True, verbose=0)
    assert "a_error" in found
    a, b = (np.asarray(copy.predict(x, verbose=0)[name]) for name in "ab")
    huber = np.where(np.abs(b) <= 2, b**2 / 2, 2 * np.abs(b) - 2)
    np.testing.assert_allclose(found["loss"], np.mean(a**2) + 3 * huber.mean(), rtol=1e-4)


def test_a_model_that_is_not_compiled():
    original, copy = model_of(4), model_of(4)
    compile_like(copy, original)
    assert not copy.compiled
