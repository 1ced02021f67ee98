"""`precompute_projection`: compute the projections of a SAC layer once for the whole data set."""

from typing import Any

import keras
import numpy as np

from keras_sac._arguments import is_verbose
from keras_sac._model import Selector
from keras_sac.layers._graph_cut import GraphCut, check_fixed
from keras_sac.layers._select_sac_layers import select_sac_layers
from keras_sac.layers._subspace_layer import SubspaceLayer


def precompute_projection(
    model: keras.Model,
    data: Any,
    *,
    targets: Selector | None = None,
    batch_size: int = 1024,
    verbose: str | int = "auto",
) -> tuple[keras.Model, np.ndarray]:
    """Compute the projections `x B` of a SAC layer once, and return the rest of the model.

    `model(x) = head(z)` with `z = (front(x) - mean) B`. Basis and front are frozen, so `z` is the
    same in every epoch. Training `head` on `z` is exactly training `model` on `x`, without the
    most expensive product. The head shares the variables of the model: after
    `head.compile(...); head.fit(z, y)` the model itself is trained. Save the model, not the head.

    Args:
        model: built Functional or Sequential model with one input. The input leads to the SAC
            layer through fixed layers only (`Flatten`, `Rescaling`, `Normalization`, pooling,
            frozen layers, ...), and to nothing else.
        data: inputs of the model, anything that `model.predict` takes.
        targets: the SAC layer: the layer itself, its name, or a regular expression on its path.
            Defaults to the first SAC layer of the model.
        batch_size: samples per batch, for arrays.
        verbose: `"auto"`, 0, 1 or 2, as in `model.predict`.

    Returns:
        `(head, z)`: the uncompiled model on the projections, and the projections as an array of
        shape `(samples, ..., rank)`, in the layer's compute dtype (float32 for bfloat16).

    Raises:
        ValueError: if a layer in front of the SAC layer is trained or random (augmentation,
            dropout, batch normalization), a mask reaches the SAC layer, another path leads around
            it, its basis is trained, `targets` do not select one SAC layer, or the model is not a
            graph of layers.

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
    is_verbose(verbose)
    layer = _find(model, targets)
    _check_frozen(layer)
    cut = GraphCut(model, layer)
    for each in cut.front:
        check_fixed(each, layer)
    projected = keras.Model(cut.inputs, SubspaceProjection(layer)(cut.projected))
    z = projected.predict(data, batch_size=batch_size, verbose=verbose)
    if z.dtype.name == "bfloat16":
        # NumPy has no such type, and few data pipelines take it.
        z = z.astype(np.float32)
    entry = keras.Input(shape=z.shape[1:], dtype=z.dtype.name, name="projections")
    return cut.rest(entry, SubspaceHead(layer)(entry)), z


class SubspaceProjection(keras.layers.Layer):
    """The frozen part of a SAC layer, `z = (x - mean) B`, on the same variables."""

    def __init__(self, layer: SubspaceLayer):
        super().__init__(name=f"{layer.name}_projection", dtype=layer.dtype_policy, trainable=False)
        self.basis, self.mean = layer.basis, layer.mean
        # A bound method, not the layer, whose other weights do not belong to this one.
        self._project = layer.project
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the projections of the inputs."""
        return self._project(inputs)


class SubspaceHead(keras.layers.Layer):
    """The trained part of a SAC layer, `activation(z L + bias)`, on the same variables."""

    def __init__(self, layer: SubspaceLayer):
        super().__init__(
            # The layer's own name, so that outputs and the losses named after them keep theirs.
            name=layer.name,
            dtype=layer.dtype_policy,
            activity_regularizer=layer.activity_regularizer,
        )
        self.learner, self.bias = layer.learner, layer.bias
        self._combine = layer.combine
        self.built = True

    def call(self, projections: Any) -> Any:
        """Return the outputs of the SAC layer for its projections."""
        return self._combine(projections)

    def get_config(self) -> dict[str, Any]:
        """Refuse to be saved."""
        raise ValueError(
            f"The head {self.name!r} shares its weights with the model that it was cut from and "
            "cannot be saved on its own. Save that model: training the head has trained it."
        )


def _find(model: keras.Model, targets: Any) -> SubspaceLayer:
    if not isinstance(model, keras.Sequential | keras.Function):
        raise ValueError(
            "`model` must be a Functional or Sequential model, a graph of layers. Received: "
            f"{type(model).__name__}. In a subclassed model, call `layer.project(x)` once and "
            "`layer.combine(z)` in the training step."
        )
    if not model.built:
        raise ValueError(
            f"`model` must be built. Received: {model.name!r}, which is not built. Begin it with "
            "`keras.Input(shape)`, or call `model.build(input_shape)`."
        )
    if len(model.inputs) != 1:
        raise ValueError(
            f"`model` must have one input. Received: {model.name!r} with {len(model.inputs)} "
            "inputs. Call `layer.project(x)` and `layer.combine(z)` yourself."
        )
    reachable = [each for each in model.layers if isinstance(each, SubspaceLayer)]
    if targets is None and reachable:
        return reachable[0]
    selected = select_sac_layers(model, targets, purpose="projected")
    if targets is not None and len(selected) > 1:
        raise ValueError(
            "`targets` must select one SAC layer. Received: targets that select "
            f"{[each.name for each in selected]}. Pass one of these names."
        )
    for each in selected:
        if any(each is other for other in reachable):
            return each
    raise ValueError(
        f"`targets` must select a SAC layer among the layers of {model.name!r} itself. Received: "
        f"{', '.join(repr(each.name) for each in selected)}, inside nested models or layers. Pass "
        "the nested model."
    )


def _check_frozen(layer: SubspaceLayer) -> None:
    # Raises the layer's own error if it has no basis yet.
    layer.get_basis()
    if layer.basis_trainable:
        raise ValueError(
            f"The basis of {layer.name!r} is trained, so its projections change with every step. "
            "Call `layer.freeze_basis()` first, or train the model itself."
        )
