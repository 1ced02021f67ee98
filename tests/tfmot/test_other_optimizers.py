"""Models that are trained by other optimizers than `model.optimizer`, such as a GAN."""

import keras
import numpy as np
import pytest

from keras_sac.tfmot.sparsity.keras import (
    PolynomialDecay,
    UpdatePruningStep,
    prune_low_magnitude,
    strip_pruning,
)
from tests.tfmot.networks import compiled, fit, sequential, zeros

RATE = 0.1


class Outer(keras.Model):
    """Trains the model inside by its own rule, and leaves `self.optimizer` alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.other = keras.layers.Dense(4)
        self.other.build((None, 4))

    def call(self, inputs):
        return self.inner(inputs)

    def train_step(self, *args):
        match keras.backend.backend():
            case "tensorflow":
                return self._on_tensorflow(*args)
            case "torch":
                return self._on_torch(*args)
            case _:
                return self._on_jax(*args)

    def _loss(self, x, y):
        return keras.ops.mean(keras.ops.square(y - self.inner(x, training=True)))

    def _on_tensorflow(self, data):
        import tensorflow as tf

        variables = self.inner.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._loss(*data)
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(RATE * gradient)
        return {"loss": loss}

    def _on_torch(self, data):
        import torch

        self.zero_grad()
        loss = self._loss(*data)
        loss.backward()
        with torch.no_grad():
            for variable in self.inner.trainable_variables:
                variable.assign(variable - RATE * variable.value.grad)
        return {"loss": loss}

    def _on_jax(self, state, data):
        import jax

        trainable, *rest = state

        def loss_of(values):
            scope = list(zip(self.trainable_variables, values, strict=True))
            with keras.StatelessScope(scope):
                return self._loss(*data)

        loss, gradients = jax.value_and_grad(loss_of)(list(trainable))
        pairs = zip(trainable, gradients, strict=True)
        new = [value - RATE * gradient for value, gradient in pairs]
        return {"loss": loss}, (new, *rest)


# Refreshed inside epochs, and when the second one begins.
SCHEDULE = PolynomialDecay(0.25, 0.75, begin_step=2, end_step=30, frequency=5)


# Keras refuses more than 1 on torch.
@pytest.mark.parametrize(
    "steps_per_execution", [1] if keras.backend.backend() == "torch" else [1, 4]
)
def test_they_are_pruned_as_by_the_optimizer_of_the_model(steps_per_execution):
    plain, inner = sequential(6, 4), sequential(6, 4)
    inner.set_weights(plain.get_weights())
    prune_low_magnitude(plain, SCHEDULE)
    fit(compiled(plain, keras.optimizers.SGD(RATE)), epochs=2)
    outer = Outer(prune_low_magnitude(inner, SCHEDULE))
    outer.build((None, 8))
    outer.compile("rmsprop", steps_per_execution=steps_per_execution)
    fit(outer, epochs=2)
    assert strip_pruning(inner) is inner
    if steps_per_execution == 1:
        assert outer.optimizer.pruning_step == 32
        for a, b in zip(inner.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_array_equal(a == 0, b == 0)
            np.testing.assert_allclose(a, b, atol=1e-5)
    else:
        # A step is an execution, as in tfmot: 8 of them.
        assert [zeros(layer) for layer in inner.layers] == [23, 11]
    assert zeros(outer.other) == 0
    # A further training goes on.
    fit(outer, callbacks=[UpdatePruningStep()])
    assert [zeros(layer) for layer in inner.layers][1] >= 11
