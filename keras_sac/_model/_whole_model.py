"""The kernels of a whole model."""

import keras

from keras_sac._model._kernels import Kernel, describe


def kernels_of(model: keras.Model) -> list[tuple[keras.Variable, Kernel]]:
    """Return the kernels of a model, trained or frozen, with their variables.

    Raises:
        ValueError: if the model is not built or has no kernel.
    """
    described = describe(check_model(model).weights, [model])
    pairs = [(v, k) for v, k in zip(model.weights, described, strict=True) if k.obstacle is None]
    if not pairs:
        raise ValueError(
            f"The model {model.name!r} has no kernel. Received the variables: "
            + ("; ".join(f"{k.path} {k.shape}: {k.obstacle}" for k in described) or "none")
        )
    return pairs


def check_model(model: keras.Model) -> keras.Model:
    """Return the model if it is a built one."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a `keras.Model`. Received: {type(model).__name__}")
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Call it on a batch, or "
            "`model.build(input_shape)`, first."
        )
    return model
