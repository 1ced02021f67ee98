"""Cross-entropy on sparse probabilities: infinite where they are 0, so it is refused."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import keras

from keras_sac import _backend

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
# What calls the model once for each `compile`: TensorFlow traces its steps; the other two call the
# model with symbols before the first step, when JAX has not emptied its variables yet.
_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
_STEPS = ("train_step", "test_step") if _ON_TENSORFLOW else ("_symbolic_build",)


def refuse_cross_entropy() -> None:
    """Raise an error if a model is just being trained by cross-entropy on a sparse head.

    A sparse head is a layer, or has an activation, with the name of its loss in `loss_name`.

    Raises:
        ValueError: names the head, its loss, and the right one.
    """
    # Its compiler cannot look at frames.
    if _backend.is_compiled_by_torch():
        return
    model = _in_training()
    if model is None:
        return
    for head, loss in _heads(model):
        right = getattr(head, "loss_name", None) or getattr(
            getattr(head, "activation", None), "loss_name", None
        )
        if right is not None and is_cross_entropy(loss):
            raise ValueError(
                f"The model {model.name!r} is compiled with loss={_shown(loss)}, but its head "
                f"{head.name!r} gives probabilities that are exactly 0, where cross-entropy is "
                "infinite (Keras limits it, and then it has no gradient). Train the logits with "
                f"`keras_sac.{right}()`: `logits = keras_sac.swap_head(model, 'linear')`, compile "
                "and fit those, then put the head on again with `swap_head`."
            )


def is_cross_entropy(loss: Any) -> bool:
    """Return whether a loss takes the logarithm of the probabilities."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            return False
    return isinstance(loss, _CLASSES) or any(loss is each for each in _FUNCTIONS)


def _in_training() -> keras.Model | None:
    """Return the model whose training step this call is a part of.

    Neither layers nor functions are told which model they are in, nor does a model ask its layers
    about the loss; the frames of the step are the only place where both meet.
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _STEPS:
            model: Any = frame.f_locals.get("self")
            if isinstance(model, keras.Model):
                return model if model.compiled else None
        frame = frame.f_back
    return None


def _heads(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, Any]]:
    """Give the last layer of each output, where the graph tells it, with its loss."""
    loss: Any = model.loss
    layers = {layer.name: layer for layer in model.layers}
    for position, (key, name) in enumerate(_outputs(model)):
        if isinstance(loss, dict):
            own = loss.get(key, loss.get(name))
        elif isinstance(loss, list | tuple):
            own = loss[position] if position < len(loss) else None
        else:
            own = loss
        if own is not None and name in layers:
            yield innermost(layers[name]), own


def _outputs(model: keras.Model) -> list[tuple[str, str]]:
    """Return key and name of the operation of each output; the key is the name without a dict."""
    if isinstance(model, keras.Sequential):
        return [(model.layers[-1].name,) * 2] if model.layers else []
    names = list(getattr(model, "output_names", None) or [])
    structure = getattr(model, "output", None) if names else None
    keys = sorted(structure) if isinstance(structure, dict) else names
    # Nested structures have no key for each output.
    return list(zip(keys if len(keys) == len(names) else names, names, strict=True))


def output_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return the layers that make the outputs of a Functional or Sequential model, by name.

    Empty for subclassed models; operations that are no layers are left out.
    """
    layers = {layer.name: layer for layer in model.layers}
    return {name: innermost(layers[name]) for _, name in _outputs(model) if name in layers}


def innermost(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the last layer of a model with one output that is used as a layer; else the layer."""
    if isinstance(layer, keras.Model):
        inner = list(output_layers(layer).values())
        if len(inner) == 1:
            return inner[0]
    return layer


def _shown(loss: Any) -> str:
    return repr(loss) if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
