"""The weights of a SAC layer: how they are made, checked, configured and restored."""

import random
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac.bases import Basis
from keras_sac.layers import _basis_source
from keras_sac.layers._learner_scale import input_gain, matched_limit


class SubspaceState(keras.layers.Layer):
    """Basis (fixed), learner (trained), bias and mean, without what is computed from them.

    Weights, in this order: `learner`, `bias`, `basis`, `mean` (with `center`).
    """

    def __init__(
        self,
        basis: Any,
        *,
        rank: int | None = None,
        activation: Any = None,
        use_bias: bool = True,
        center: bool = False,
        basis_trainable: bool = False,
        basis_constraint: Any = None,
        learner_initializer: Any = None,
        bias_initializer: Any = "zeros",
        learner_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        learner_constraint: Any = None,
        bias_constraint: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.kind, self._given, self.rank = _basis_source.resolve(basis, rank)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.center = center
        self.basis_trainable = basis_trainable
        self.basis_constraint = keras.constraints.get(basis_constraint)
        # None stands for the initialisation that keeps the stock layer's output variance.
        self.learner_initializer = learner_initializer and keras.initializers.get(
            learner_initializer
        )
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.learner_regularizer = keras.regularizers.get(learner_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.learner_constraint = keras.constraints.get(learner_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        # As Keras' own initialisers: `keras.utils.set_random_seed` makes it repeatable.
        self.seed = random.randint(1, 10**9) if seed is None else seed
        self._gain: float | None = None
        self._basis_is_set = False
        if center and self._given is not None and self._given.mean is None:
            raise ValueError(
                "`center=True` needs the mean of the data, and this basis has none. Use a basis "
                "computed from data, give it one (`Basis(matrix, mean=mean)`), or pass "
                "`center=False`."
            )

    # Weights.

    def _add_subspace_weights(
        self,
        grid: tuple[int, ...],
        units: int,
        *,
        fan_out: int | None = None,
        bias_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Add the weights; `grid` is the shape of what one row of the input is made of."""
        if None in grid:
            raise ValueError(
                f"{self.name!r} needs to know the width of its inputs; received inputs whose axes "
                f"to multiply have the sizes {grid}. Fix them in `keras.Input(shape)`."
            )
        in_dim = int(np.prod(grid))
        if self.rank > in_dim:
            raise ValueError(
                f"`rank` must be at most the input width; received rank {self.rank} for inputs of "
                f"width {in_dim} (input axes {grid}). Lower the rank."
            )
        basis = self._initial_basis(grid)
        self.in_dim = in_dim
        self._fans = in_dim, units if fan_out is None else fan_out
        if basis is not None and self._gain is None:
            self._gain = input_gain(basis, self.center)
        self.learner = self.add_weight(
            name="learner",
            shape=(self.rank, units),
            initializer=self._draw_learner,
            regularizer=self.learner_regularizer,
            constraint=self.learner_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(units,) if bias_shape is None else bias_shape,
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        # Made trainable and frozen afterwards: TensorFlow never differentiates a variable that was
        # made frozen, and the order of the weights must not depend on it.
        self.basis = self.add_weight(
            name="basis",
            shape=(in_dim, self.rank),
            initializer=_constant(None if basis is None else basis.matrix),
            constraint=self.basis_constraint,
        )
        self.basis.trainable = self.basis_trainable and self.trainable
        self.mean = None
        if self.center:
            self.mean = self.add_weight(
                name="mean",
                shape=(in_dim,),
                initializer=_constant(None if basis is None else basis.mean),
                trainable=False,
            )
        self._basis_is_set = basis is not None and not (self.center and basis.mean is None)
        self._given = None

    def _initial_basis(self, grid: tuple[int, ...]) -> Basis | None:
        in_dim = int(np.prod(grid))
        given = self._given
        if given is None:
            return _basis_source.from_shape(self.kind, grid, self.rank, self.seed)
        if given.in_dim != in_dim:
            raise ValueError(
                f"The basis is for inputs of width {given.in_dim}; {self.name!r} received inputs "
                f"of width {in_dim} (input axes {grid}). Compute the basis on the data that this "
                "layer sees."
            )
        return given

    def _draw_learner(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        initializer = self.learner_initializer
        if initializer is None:
            in_dim, fan_out = self._fans
            gain = in_dim / self.rank if self._gain is None else self._gain
            limit = matched_limit(gain, in_dim, fan_out)
            initializer = keras.initializers.RandomUniform(-limit, limit)
        return initializer(shape, dtype=dtype)

    def get_basis(self) -> Basis:
        """Return the basis as it is now, as a `Basis` with the layer's mean where it has one.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        self._require_built("get_basis()")
        if self._basis_is_unset():
            raise ValueError(self._no_basis_message())
        mean = None if self.mean is None else ops.convert_to_numpy(self.mean)
        return Basis(ops.convert_to_numpy(self.basis), kind=self.kind, mean=mean)

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained; its basis is only with `basis_trainable`."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)  # type: ignore[attr-defined]
        if getattr(self, "basis", None) is not None:
            self.basis.trainable = self.basis_trainable and bool(value)

    # Is there a basis yet?

    def _require_built(self, what: str) -> None:
        if not self.built:
            raise ValueError(
                f"{self.name!r} is not built yet: `{what}` is there once the layer has seen an "
                "input. Call it, `build(input_shape)` it, or `adapt(data)` it."
            )

    def _no_basis_message(self) -> str:
        what, how = "basis", "Compute it with `layer.adapt(data)`, on the inputs of this layer"
        if self.kind == "custom":
            how = "Make the layer with the matrix itself (`basis=matrix`)"
        elif not _basis_source.needs_data(self.kind):
            what = "mean"
        return (
            f"{self.name!r} has no {what} yet (kind {self.kind!r}, rank {self.rank}). {how}, "
            "before the model is used, or load the weights that it was saved with."
        )

    def _basis_is_unset(self) -> bool | None:
        """Whether basis or mean are missing; `None` if no value can be read here."""
        if self._basis_is_set:
            return False
        unset = self._basis_values_are_unset()
        return _backend.value_is_nan(self.mean) if self.mean is not None and not unset else unset

    def _basis_values_are_unset(self) -> bool | None:
        return _backend.value_is_nan(self.basis)

    def _check_basis_is_set(self, inputs: Any, training: bool | None) -> None:
        # Building a model runs `call` symbolically, before there is a basis, and rightly so. A
        # given `training`, or a real value, means that somebody wants a result.
        if training is None and _backend.is_traced(inputs):
            return
        unset = self._basis_is_unset()
        if unset:
            raise ValueError(self._no_basis_message())
        # `False`: the weights came from a file, or by `set_weights`.
        self._basis_is_set = unset is False

    # Serialization.

    def get_config(self) -> dict[str, Any]:
        """Return the configuration; the basis is named by its kind, its matrix is a weight."""
        config = super().get_config()
        config.update(
            basis=_basis_source.LiveKind(self.kind, self._live_basis),
            rank=self.rank,
            activation=keras.activations.serialize(self.activation),
            use_bias=self.use_bias,
            center=self.center,
            basis_trainable=self.basis_trainable,
            basis_constraint=keras.constraints.serialize(self.basis_constraint),
            learner_initializer=self.learner_initializer
            and keras.initializers.serialize(self.learner_initializer),
            bias_initializer=keras.initializers.serialize(self.bias_initializer),
            learner_regularizer=keras.regularizers.serialize(self.learner_regularizer),
            bias_regularizer=keras.regularizers.serialize(self.bias_regularizer),
            activity_regularizer=keras.regularizers.serialize(self.activity_regularizer),
            learner_constraint=keras.constraints.serialize(self.learner_constraint),
            bias_constraint=keras.constraints.serialize(self.bias_constraint),
            seed=self.seed,
            learner_gain=self._gain,
        )
        return config

    def _live_basis(self) -> Basis | None:
        return self._given if not self.built or self._basis_is_unset() else self.get_basis()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SubspaceState":
        """Make the layer again; within one process, with the basis of the layer it describes."""
        config = dict(config)
        gain = config.pop("learner_gain", None)
        layer = super().from_config(config)
        layer._gain = gain
        return layer


def _constant(value: np.ndarray | None) -> Any:
    def initializer(shape: tuple[int, ...], dtype: Any = None) -> Any:
        # NaN where the value is not known yet: nothing computed from it can pass for a result.
        if value is None:
            return ops.full(shape, float("nan"), dtype=dtype)
        return ops.convert_to_tensor(value, dtype=dtype)

    return initializer
