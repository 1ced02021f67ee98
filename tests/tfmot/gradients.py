"""Gradients in a custom training loop, on the backend of the tests."""

import weakref

import keras

_COMPILED = weakref.WeakKeyDictionary()
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def gradients(model, x, y):
    """Return the gradient for each trainable variable; statistics of the model are updated."""
    return {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}[keras.backend.backend()](
        model, x, y
    )


def _tensorflow(model, x, y):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = LOSS(y, model(x, training=True))
    return tape.gradient(value, model.trainable_variables)


def _torch(model, x, y):
    model.zero_grad()
    LOSS(y, model(x, training=True)).backward()
    return [variable.value.grad for variable in model.trainable_variables]


def _jax(model, x, y):
    import jax

    def value(trainable, others, x, y):
        outputs, others = model.stateless_call(trainable, others, x, training=True)
        return LOSS(y, outputs), others

    if model not in _COMPILED:
        _COMPILED[model] = jax.jit(jax.grad(value, has_aux=True))
    weights = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    grads, others = _COMPILED[model](weights, others, x, y)
    for variable, new in zip(model.non_trainable_variables, others, strict=True):
        variable.assign(new)
    return grads
