"""Create the weights of a SAC layer: learner, bias, basis and mean."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac.bases import Basis
from keras_sac.layers._basis_source import basis_from_shape
from keras_sac.layers._learner_scale import input_gain, matched_limit


def add_weights(
    layer: keras.layers.Layer,
    grid: tuple[int, ...],
    units: int,
    fans: tuple[int | None, int | None],
    bias_shape: tuple[int, ...] | None,
) -> None:
    """Add `learner`, `bias`, `basis` and `mean`, in this order; see `add_subspace_weights`."""
    if None in grid:
        raise ValueError(
            f"{layer.name!r} needs inputs of known width. Received: inputs with the sizes {grid} "
            "on the axes to multiply. Fix these sizes in `keras.Input(shape)`."
        )
    in_dim = int(np.prod(grid))
    if layer.rank > in_dim:
        raise ValueError(
            f"`rank` must be between 1 and {in_dim}, the input width of {layer.name!r} (input axes "
            f"{grid}). Received: rank={layer.rank}"
        )
    basis = initial_basis(layer, grid)
    layer.in_dim = in_dim
    fan_in, fan_out = fans
    layer._fans = in_dim if fan_in is None else fan_in, units if fan_out is None else fan_out
    if basis is not None and layer._gain is None:
        layer._gain = input_gain(basis, layer.center)
    layer.learner = layer.add_weight(
        name="learner",
        shape=(layer.rank, units),
        initializer=lambda shape, dtype=None: drawn_learner(layer, shape, dtype),
        regularizer=layer.learner_regularizer,
        constraint=layer.learner_constraint,
    )
    layer.bias = None
    if layer.use_bias:
        layer.bias = layer.add_weight(
            name="bias",
            shape=(units,) if bias_shape is None else bias_shape,
            initializer=layer.bias_initializer,
            regularizer=layer.bias_regularizer,
            constraint=layer.bias_constraint,
        )
    # Created trainable and frozen afterwards: TensorFlow never differentiates a variable that was
    # created frozen, and the order of the weights must not depend on `basis_trainable`.
    layer.basis = layer.add_weight(
        name="basis",
        shape=(in_dim, layer.rank),
        initializer=_value_or_nan(None if basis is None else basis.matrix),
        constraint=layer.basis_constraint,
    )
    layer.basis.trainable = layer.basis_trainable and layer.trainable
    layer.mean = None
    if layer.center:
        layer.mean = layer.add_weight(
            name="mean",
            shape=(in_dim,),
            initializer=_value_or_nan(None if basis is None else basis.mean),
            trainable=False,
        )
    layer._basis_is_set = basis is not None and not (layer.center and basis.mean is None)
    layer._given = None


def initial_basis(layer: keras.layers.Layer, grid: tuple[int, ...]) -> Basis | None:
    """Return the basis that the layer was given or can make without data, else `None`."""
    in_dim = int(np.prod(grid))
    given = layer._given
    if given is None:
        return basis_from_shape(layer.kind, grid, layer.rank, layer.seed)
    if given.in_dim != in_dim:
        raise ValueError(
            f"`basis` of {layer.name!r} must fit inputs of width {in_dim} (input axes {grid}). "
            f"Received: a basis for inputs of width {given.in_dim}. Compute the basis from the "
            "inputs of this layer."
        )
    return given


def drawn_learner(layer: keras.layers.Layer, shape: tuple[int, ...], dtype: Any = None) -> Any:
    """Return initial values of the learner, shape `(rank, units)`."""
    initializer = layer.learner_initializer
    if initializer is None:
        gain = layer.in_dim / layer.rank if layer._gain is None else layer._gain
        limit = matched_limit(gain, *layer._fans)
        initializer = keras.initializers.RandomUniform(-limit, limit)
    return initializer(shape, dtype=dtype)


def _value_or_nan(value: np.ndarray | None) -> Any:
    def initializer(shape: tuple[int, ...], dtype: Any = None) -> Any:
        # NaN where the value is unknown: nothing that is computed from it can pass for a result.
        if value is None:
            return ops.full(shape, float("nan"), dtype=dtype)
        return ops.convert_to_tensor(value, dtype=dtype)

    return initializer
