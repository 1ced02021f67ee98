"""`check_loss`: find sparse heads that are trained by cross-entropy."""

from typing import Any

import keras

from keras_sac.heads._output_layers import Output, outputs_of

_CLASSES = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.KLDivergence,
    keras.losses.SparseCategoricalCrossentropy,
)
_FUNCTIONS = (
    keras.losses.binary_crossentropy,
    keras.losses.binary_focal_crossentropy,
    keras.losses.categorical_crossentropy,
    keras.losses.categorical_focal_crossentropy,
    keras.losses.kl_divergence,
    keras.losses.sparse_categorical_crossentropy,
)
# `compile` chooses among the cross-entropies for these; `keras.losses.get` does not know them.
_SHORT_NAMES = ("crossentropy", "ce")


def check_loss(model: keras.Model, sample: Any = None) -> None:
    """Raise an error if a compiled model trains a sparse head by cross-entropy.

    Cross-entropy is `-log p`, infinite where a probability is exactly 0. Keras clips it, so nothing
    fails, but classes with probability 0 get no gradient. Call `check_loss` after `compile`.

    A head is found if it is the layer that makes an output, or the activation of that layer. A
    model with its own `compute_loss` passes: only that method knows the loss.

    Args:
        model: compiled model: Functional, Sequential or subclassed.
        sample: array of a few inputs, or a structure of arrays as the model takes it. Needed only
            for a subclassed model that is not built on inputs of a known shape.

    Raises:
        ValueError: if the loss of a sparse head is a cross-entropy or the Kullback-Leibler
            divergence, if the model is not compiled, or if it has to be called and `sample` is
            missing.

    Examples:
        >>> import keras
        >>> from keras_sac import Sparsemax, SparsemaxLoss, swap_head
        >>> from keras_sac.heads import check_loss
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Sparsemax()])
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> check_loss(model)
        Traceback (most recent call last):
        ...
        ValueError: ...
        >>> logits = swap_head(model, "linear")
        >>> logits.compile("sgd", SparsemaxLoss())
        >>> check_loss(logits)
    """
    if not isinstance(model, keras.Model) or not model.compiled:
        received = (
            f"the model {model.name!r}, which is not compiled"
            if isinstance(model, keras.Model)
            else f"an object of type {type(model).__name__}"
        )
        raise ValueError(
            f"`model` must be a compiled `keras.Model`. Received: {received}. Call "
            "`model.compile(...)` before `check_loss(model)`."
        )
    if model.loss is None or _has_own_loss(model):
        return
    outputs = outputs_of(model, sample)
    for output, loss in zip(outputs, _losses(model.loss, outputs), strict=True):
        if output.layer is None or not is_cross_entropy(loss):
            continue
        right = _loss_name(output.layer)
        if right is not None:
            raise ValueError(
                f"The sparse head {output.layer.name!r} of the model {model.name!r} cannot be "
                "trained by cross-entropy, which is infinite where a probability is 0. Received: "
                f"loss={_shown(loss)}. Train the logits: `logits = keras_sac.swap_head(model, "
                f"'linear')`, `logits.compile(optimizer, keras_sac.{right}())`. After `fit` add "
                "the head again with `keras_sac.swap_head`."
            )


def is_cross_entropy(loss: Any) -> bool:
    """Return whether a loss, as `compile` takes it, is a logarithm of the probabilities."""
    if isinstance(loss, str):
        if loss.lower() in _SHORT_NAMES:
            return True
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return False
    return isinstance(loss, _CLASSES) or any(loss is each for each in _FUNCTIONS)


def _has_own_loss(model: keras.Model) -> bool:
    method = getattr(model.compute_loss, "__func__", model.compute_loss)
    return method is not keras.Model.compute_loss


def _loss_name(layer: keras.layers.Layer) -> str | None:
    """Return the name of the loss that trains a sparse head; `None` for any other layer."""
    while isinstance(layer, keras.layers.TimeDistributed):
        layer = layer.layer
    own = getattr(layer, "loss_name", None)
    return own or getattr(getattr(layer, "activation", None), "loss_name", None)


def _losses(loss: Any, outputs: list[Output]) -> list[Any]:
    """Return the loss of each output from the `loss=` of `compile`."""
    if isinstance(loss, dict):
        own = [loss.get(each.key, loss.get(each.name)) for each in outputs]
        if any(each is not None for each in own):
            return own
    if not isinstance(loss, dict | list | tuple):
        return [loss] * len(outputs)
    # The structure of the outputs, however deep.
    flat = keras.tree.flatten(loss)
    return [flat[i] if i < len(flat) else None for i in range(len(outputs))]


def _shown(loss: Any) -> str:
    return repr(loss) if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
