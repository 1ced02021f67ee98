"""`precompute_projection`: apply the frozen front of a model to the data once."""

from typing import Any

import keras
import numpy as np

from keras_sac.layers._graph_cut import GraphCut, check_fixed
from keras_sac.layers._subspace_layer import SubspaceLayer
from keras_sac.layers._walk import sac_layers


def precompute_projection(
    model: keras.Model,
    x: Any,
    *,
    layer: SubspaceLayer | None = None,
    batch_size: int = 1024,
    verbose: str | int = "auto",
) -> tuple[keras.Model, np.ndarray]:
    """Apply a model up to its first `x B` once, and return the rest as a model on the results.

    `model(x) = head(z)` with `z = (front(x) - mean) B`. Basis and front are frozen, so `z` is the
    same in every epoch: training `head` on `z` is training `model` on `x`, exactly and not
    approximately, without the product that costs the most. The head shares the variables of the
    model: after `head.compile(...); head.fit(z, y)` the model itself is trained. Save the model,
    not the head.

    Args:
        model: built Functional or Sequential model with one input, which reaches the SAC layer
            through fixed layers only (`Flatten`, `Rescaling`, `Normalization`, pooling, frozen
            layers, ...), and nothing but the SAC layer.
        x: inputs of the model, anything that `model.predict` takes.
        layer: which SAC layer; `None` takes the first one.
        batch_size: samples a batch, for arrays.
        verbose: as in `model.predict`.

    Returns:
        `(head, z)`: the uncompiled model on the projections, and the projections as an array of
        shape `(samples, ..., rank)`, in the layer's compute dtype (float32 for bfloat16).

    Raises:
        ValueError: if something in front of the layer is trained or random (augmentation,
            dropout, batch normalisation), a mask reaches the layer, another path leads around it,
            the basis is trained, or the model is no graph of layers. The message says what.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import SACDense, bases, precompute_projection
        >>> x = np.random.default_rng(0).normal(size=(128, 4, 5)).astype("float32")
        >>> basis = bases.pca(x.reshape(128, 20), rank=6)
        >>> layers = [keras.Input((4, 5)), keras.layers.Flatten(), SACDense(3, basis)]
        >>> model = keras.Sequential(layers)
        >>> head, z = precompute_projection(model, x, verbose=0)
        >>> difference = head.predict(z, verbose=0) - model.predict(x, verbose=0)
        >>> z.shape, bool(np.abs(difference).max() < 1e-5)
        ((128, 6), True)
    """
    layer = _find(model, layer)
    _check_frozen(layer)
    cut = GraphCut(model, layer)
    for each in cut.front:
        check_fixed(each, layer)
    projected = keras.Model(cut.inputs, SubspaceProjection(layer)(cut.projected))
    z = projected.predict(x, batch_size=batch_size, verbose=verbose)
    if z.dtype.name == "bfloat16":
        # Not a NumPy type of its own; few data pipelines take it.
        z = z.astype(np.float32)
    entry = keras.Input(shape=z.shape[1:], dtype=z.dtype.name, name="projections")
    return cut.rest(entry, SubspaceHead(layer)(entry)), z


class SubspaceProjection(keras.layers.Layer):
    """The frozen part of a SAC layer, `z = (x - mean) B`, on the same variables."""

    def __init__(self, layer: SubspaceLayer):
        super().__init__(name=f"{layer.name}_projection", dtype=layer.dtype_policy, trainable=False)
        self.basis, self.mean = layer.basis, layer.mean
        # A bound method, not the layer: its other weights are none of this layer's.
        self._project = layer.project
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the projections of the inputs."""
        return self._project(inputs)


class SubspaceHead(keras.layers.Layer):
    """The trained part of a SAC layer, `activation(z L + bias)`, on the same variables."""

    def __init__(self, layer: SubspaceLayer):
        super().__init__(
            # The layer's own: outputs, and the losses that are named after them, keep their names.
            name=layer.name,
            dtype=layer.dtype_policy,
            activity_regularizer=layer.activity_regularizer,
        )
        self.learner, self.bias = layer.learner, layer.bias
        self._combine = layer.combine
        self.built = True

    def call(self, projections: Any) -> Any:
        """Return what the SAC layer makes of its projections."""
        return self._combine(projections)

    def get_config(self) -> dict[str, Any]:
        """Refuse to be saved."""
        raise ValueError(
            f"The head of {self.name!r} shares its weights with the model it was cut from, and is "
            "not saved by itself. Save that model: training the head has trained it."
        )


def _find(model: keras.Model, layer: SubspaceLayer | None) -> SubspaceLayer:
    if not isinstance(model, keras.Sequential | keras.Function):
        raise ValueError(
            "`precompute_projection` cuts a graph of layers in two and needs a Functional or "
            f"Sequential model; received {type(model).__name__}. In a subclassed model, call "
            "`layer.project(x)` once and `layer.combine(z)` in the training step."
        )
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} is not built. Begin it with `keras.Input(shape)`, or call "
            "`model.build(input_shape)`."
        )
    if len(model.inputs) != 1:
        raise ValueError(
            f"The model {model.name!r} has {len(model.inputs)} inputs; expected one. Project by "
            "hand: `layer.project(x)`."
        )
    found = [each for each in model.layers if isinstance(each, SubspaceLayer)]
    if layer is None and found:
        return found[0]
    if layer is not None and any(layer is each for each in found):
        return layer
    nested = sac_layers(model)
    hint = (
        f" Those of nested models ({', '.join(each.name for each in nested)}) cannot be reached "
        "from here: pass the nested model."
        if nested
        else ""
    )
    what = "no SAC layer" if layer is None else f"no layer {layer.name!r}"
    raise ValueError(f"There is {what} among the layers of {model.name!r}.{hint}")


def _check_frozen(layer: SubspaceLayer) -> None:
    # Raises the layer's own error where there is no basis yet.
    layer.get_basis()
    if layer.basis_trainable:
        raise ValueError(
            f"The basis of {layer.name!r} is trained, so its projections change with every step. "
            "Call `freeze_basis()` first, or train the model itself."
        )
