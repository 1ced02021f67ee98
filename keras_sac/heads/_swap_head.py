"""`swap_head`: another head on a classifier that is trained already."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sac._model import check_graph, copied
from keras_sac.heads._head_layers import Entmax15, Sparsemax
from keras_sac.heads._loss_check import output_layers
from keras_sac.heads._sparse_functions import entmax15, sparsemax


@keras.saving.register_keras_serializable(package="keras_sac")
class LinearHead(keras.layers.Layer):
    """Stands where a head was that is a layer of its own, and remembers its axis."""

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the logits; the mask is for the head that is put on again."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {**super().get_config(), "axis": self.axis}


# Name -> the activation of a layer with weights, and the layer that is nothing but the head.
HEADS: dict[str, tuple[Callable[[Any], Any], Callable[..., keras.layers.Layer]]] = {
    "sparsemax": (sparsemax, Sparsemax),
    "entmax15": (entmax15, Entmax15),
    "softmax": (keras.activations.softmax, keras.layers.Softmax),
    "linear": (keras.activations.linear, LinearHead),
}
_KNOWN = (
    *(activation for activation, _ in HEADS.values()),
    keras.activations.sparsemax,
    keras.activations.log_softmax,
)
_PLAIN = (Sparsemax, Entmax15, LinearHead, keras.layers.Softmax)


def swap_head(
    model: keras.Model, head: str = "sparsemax", *, layer: str | None = None
) -> keras.Model:
    """Return a model with the same weights and another head.

    The head is what makes probabilities of logits: the activation of the last layer, or a last
    layer of its own. `"linear"` takes it off, to train the logits with `SparsemaxLoss`; nothing is
    trained here.

    Args:
        model: built Functional or Sequential classifier whose last layer has the activation
            softmax, sparsemax, entmax15 or none, or is a layer of one of them. It is not changed.
        head: `"sparsemax"`, `"entmax15"`, `"softmax"` or `"linear"`.
        layer: name of the last layer, where the model has several outputs.

    Returns:
        A new model with copies of all weights; it is not compiled. (Hidden layers with Keras' own
        sparsemax, which is wrong in 3.15.1, have ours in it.)

    Raises:
        ValueError: if the head is not one of those, the model is not built or no Functional or
            Sequential one, or its last layer is no head over classes.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import swap_head
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(3, activation="softmax", name="classes")]
        ... )
        >>> sparse = swap_head(model, "sparsemax")
        >>> np.allclose(sparse.get_weights()[0], model.get_weights()[0])
        True
        >>> bool(keras.ops.any(sparse(9.0 * np.eye(4, dtype="float32")) == 0))
        True
    """
    if head not in HEADS:
        raise ValueError(
            f"`head` must be one of {', '.join(map(repr, HEADS))}. Received: head={head!r}"
        )
    check_graph(model, "swap_head", "Exchange the activation in its `call`.")
    old = _head(model, layer)
    _check_head(old)

    return copied(model, lambda each: _with_head(each, head) if each is old else None)


def _head(model: keras.Model, name: str | None) -> keras.layers.Layer:
    last = output_layers(model)
    if name is not None:
        if name not in last:
            raise ValueError(
                f"`layer` must be the name of a last layer: {', '.join(map(repr, last))}. "
                f"Received: layer={name!r}"
            )
        return last[name]
    if len(last) != 1:
        raise ValueError(
            f"The model {model.name!r} has {len(last)} outputs that are made by layers: "
            f"{', '.join(map(repr, last)) or 'none'}. Name the one: `layer=...`."
        )
    return next(iter(last.values()))


def _check_head(layer: keras.layers.Layer) -> None:
    if isinstance(layer, _PLAIN):
        if not isinstance(layer.axis, int):
            raise ValueError(
                f"The head {layer.name!r} goes over several axes, a sparse one goes over one. "
                f"Received: axis={layer.axis}. Flatten the classes first."
            )
        return
    activation = getattr(layer, "activation", None)
    known = any(activation is each for each in _KNOWN) or hasattr(activation, "loss_name")
    classes = getattr(layer, "units", getattr(layer, "filters", None))
    if known and classes != 1:
        return
    raise ValueError(
        f"The last layer {layer.name!r} ({type(layer).__name__}) is no head over classes: expected "
        "the activation softmax, sparsemax, entmax15 or linear on two classes or more, or a layer "
        f"of one of those. Received: activation={getattr(activation, '__name__', activation)!r}"
        + (", one unit. Give a binary classifier two." if classes == 1 else "")
    )


def _with_head(layer: keras.layers.Layer, head: str) -> keras.layers.Layer:
    activation, plain = HEADS[head]
    if isinstance(layer, _PLAIN) or type(layer) is keras.layers.Activation:
        axis = getattr(layer, "axis", -1)
        return plain(axis=axis, name=layer.name, dtype=layer.dtype_policy)
    config = layer.get_config()
    return type(layer).from_config(
        {**config, "activation": keras.activations.serialize(activation)}
    )
