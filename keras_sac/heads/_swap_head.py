"""`swap_head`: replace the head of a trained classifier."""

from collections.abc import Callable
from typing import Any

import keras

from keras_sac._arguments import one_of
from keras_sac._model import Copies, check_graph, select_layers
from keras_sac.heads._head_layers import Entmax15, Sparsemax
from keras_sac.heads._output_layers import output_layers
from keras_sac.heads._sparse_functions import entmax15, sparsemax


@keras.saving.register_keras_serializable(package="keras_sac")
class LinearHead(keras.layers.Layer):
    """Returns its inputs. Takes the place of a head layer, and remembers its axis."""

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the logits. A later `swap_head` restores the use of the mask."""
        return inputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the outputs, which is that of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return {**super().get_config(), "axis": self.axis}


# Name -> the activation for a layer with weights, and the layer for a head of its own.
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


def swap_head(model: keras.Model, head: str = "sparsemax", *, targets: Any = None) -> keras.Model:
    """Return a copy of a trained model with another head on its logits.

    The head turns logits into probabilities. It is the activation of the last layer, or a last
    layer of its own. With `head="linear"` the copy returns logits, to be trained with
    `SparsemaxLoss` or `Entmax15Loss`. No weights are trained here. Never train a sparse head by
    cross-entropy: after `compile`, `keras_sac.heads.check_loss(model)` raises an error for it.

    Args:
        model: built Functional or Sequential classifier. The activation of its last layer is
            softmax, sparsemax, entmax15 or none, or the last layer is one of these. The model is
            not changed.
        head: `"sparsemax"`, `"entmax15"`, `"softmax"` or `"linear"`.
        targets: which output gets the head, for models with several: its last layer, the name of
            that layer, a regular expression on its path, a variable of it, or a callable from a
            variable to a boolean. Must select one layer. Defaults to the only output.

    Returns:
        A new model, not compiled, with copies of all weights.

    Raises:
        ValueError: if `head` is not one of these, the model is not a built Functional or Sequential
            model, `targets` does not select exactly one output layer, or that layer is not a head
            over classes.

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
    one_of("head", head, HEADS)
    check_graph(model, "swap_head", "Replace the activation in its `call` instead.")
    old = _head(model, targets)
    _check_head(old)
    copies = Copies()
    activation, plain = HEADS[head]
    if isinstance(old, _PLAIN) or type(old) is keras.layers.Activation:
        axis = getattr(old, "axis", -1)
        copies.put(old, plain(axis=axis, name=old.name, dtype=old.dtype_policy))
    else:
        copies.of(old).activation = activation
    return copies.of(model)


def _head(model: keras.Model, targets: Any) -> keras.layers.Layer:
    last = output_layers(model)
    if last:
        selected = select_layers(model, targets, last, purpose="swapped")
        if len(selected) == 1:
            return selected[0]
        if targets is not None:
            last = selected
    names = ", ".join(repr(layer.name) for layer in last) or "none"
    raise ValueError(
        f"`targets` must select exactly one output layer of the model {model.name!r}. Received: "
        f"targets={targets!r}, which selects {len(last)}: {names}."
        + (" Pass the name of one of them: `targets=...`." if last else "")
    )


def _check_head(layer: keras.layers.Layer) -> None:
    if isinstance(layer, _PLAIN):
        if not isinstance(layer.axis, int):
            raise ValueError(
                f"The head {layer.name!r} must have one axis of classes to be swapped. Received: "
                f"axis={layer.axis}. Flatten the classes first."
            )
        return
    activation = getattr(layer, "activation", None)
    known = any(activation is each for each in _KNOWN) or hasattr(activation, "loss_name")
    classes = getattr(layer, "units", getattr(layer, "filters", None))
    if known and classes != 1:
        return
    raise ValueError(
        f"The last layer {layer.name!r} ({type(layer).__name__}) must be a head over at least two "
        "classes: a layer with the activation softmax, sparsemax, entmax15 or linear, or one of "
        f"these as a layer. Received: activation={getattr(activation, '__name__', activation)!r}"
        + (" and one unit. Give a binary classifier two units." if classes == 1 else "")
    )
