"""`SACDense`: a dense layer that is trained inside a fixed subspace."""

from typing import Any

import keras
from keras import ops

from keras_sac._arguments import integer
from keras_sac.layers._product_order import factored_is_cheaper, rows_of
from keras_sac.layers._subspace_layer import SubspaceLayer


@keras.saving.register_keras_serializable(package="keras_sac")
class SACDense(SubspaceLayer):
    """Dense layer whose kernel is a fixed basis times a small trained learner.

    `y = activation((x - mean) B L + bias)`. The basis `B (in_dim, rank)` is computed from data and
    not trained. The learner `L (rank, units)` is trained: `rank * units` trainable parameters
    instead of `in_dim * units`. The layer multiplies by `B`, then by `L`, or by `B L` where that is
    cheaper for the shapes. The mean is subtracted with `center` only.

    Args:
        units: positive integer, size of the output.
        basis: the subspace: a `keras_sac.bases.Basis`, an array of shape `(in_dim, rank)`, or the
            name of a kind. `"random"` (orthogonal) and `"dct"` are made when the layer is built;
            `"pca"`, `"pca_whitened"`, `"lda"` and `"lda_pca"` are computed by `adapt(data)`.
        rank: number of columns, `1 <= rank <= in_dim`. Required with the name of a kind. With a
            `Basis` or an array, keeps the leading columns; defaults to all.
        activation: as in `keras.layers.Dense`.
        use_bias: whether to add a trained bias.
        center: subtract the mean of the data that the basis was computed from.
        basis_trainable: train the basis, too (see `unfreeze_basis` and `BasisFinetuning`).
        basis_constraint: constraint of a trained basis, such as `keras_sac.layers.Orthonormal()`.
        learner_initializer: Keras initializer for the shape `(rank, units)`. Defaults to a uniform
            distribution that gives the outputs the variance of a `Dense` layer with
            `glorot_uniform`.
        bias_initializer: initializer of the bias.
        learner_regularizer: regularizer of the learner.
        bias_regularizer: regularizer of the bias.
        activity_regularizer: regularizer of the output.
        learner_constraint: constraint of the learner.
        bias_constraint: constraint of the bias.
        seed: integer >= 0 that fixes the `"random"` basis. Defaults to a drawn one, which
            `keras.utils.set_random_seed` makes repeatable.
        **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Input shape: `(batch, ..., in_dim)`, at least two axes.
    Output shape: `(batch, ..., units)`.

    Raises:
        ValueError: if `units` or `rank` are out of range, the basis has the wrong width or entries
            that are not finite, or the layer is used before `adapt`. (A step compiled by JAX cannot
            check this: there, `predict` with a layer without a basis returns NaN.)

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import SACDense, bases
        >>> x = np.random.default_rng(0).normal(size=(256, 20)).astype("float32")
        >>> layer = SACDense(4, bases.pca(x, rank=5), activation="relu")
        >>> layer(x).shape[1], [tuple(w.shape) for w in layer.trainable_weights]
        (4, [(5, 4), (4,)])
        >>> adapted = SACDense(4, "pca", rank=5)
        >>> adapted.adapt(x)
        >>> tuple(adapted.kernel.shape), type(adapted.to_dense()).__name__
        ((20, 4), 'Dense')

    Reference:
        Denil et al., 2013, "Predicting Parameters in Deep Learning"; Li et al., 2018, "Measuring
        the Intrinsic Dimension of Objective Landscapes".
    """

    stock_class = keras.layers.Dense

    def __init__(
        self,
        units: int,
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
        super().__init__(
            basis,
            rank=rank,
            activation=activation,
            use_bias=use_bias,
            center=center,
            basis_trainable=basis_trainable,
            basis_constraint=basis_constraint,
            learner_initializer=learner_initializer,
            bias_initializer=bias_initializer,
            learner_regularizer=learner_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            learner_constraint=learner_constraint,
            bias_constraint=bias_constraint,
            seed=seed,
            **kwargs,
        )
        self.units = integer("units", units, 1)
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(min_ndim=2)

    def build(self, input_shape: Any) -> None:
        """Add the weights for inputs of width `input_shape[-1]`."""
        self.add_subspace_weights(self.input_grid(input_shape), self.units)
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: self.in_dim})

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return `(*input_shape[:-1], units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. It names the kind of the basis; the matrix is a weight."""
        return {**super().get_config(), "units": self.units}

    def input_grid(self, input_shape: Any) -> tuple[int, ...]:
        """Return `(in_dim,)`."""
        return (input_shape[-1],)

    def kernel_shape(self) -> tuple[int, ...]:
        """Return `(in_dim, units)`."""
        return (self.in_dim, self.units)

    def is_factored(self, inputs: Any) -> bool:
        """Return whether two thin products are cheaper for this number of rows."""
        rows = rows_of(inputs.shape[:-1])
        return factored_is_cheaper(rows, self.in_dim, self.rank, self.units)

    def apply_basis(self, inputs: Any) -> Any:
        """Return `x B`, shape `(batch, ..., rank)`."""
        return ops.matmul(inputs, self.basis)

    def apply_learner(self, projections: Any) -> Any:
        """Return `z L`, shape `(batch, ..., units)`."""
        return ops.matmul(projections, self.learner)

    def apply_kernel(self, inputs: Any, kernel: Any) -> Any:
        """Return `x W`, shape `(batch, ..., units)`."""
        return ops.matmul(inputs, kernel)

    @classmethod
    def arguments_from_stock(cls, layer: Any, use_bias: bool) -> dict[str, Any]:
        """Return the arguments for the place of a `Dense` layer."""
        return {**super().arguments_from_stock(layer, use_bias), "units": layer.units}

    def make_stock_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `Dense` layer from `in_dim` to `units`."""
        return _dense(self.in_dim, self.units, kwargs)

    def make_basis_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `Dense` layer from `in_dim` to `rank`."""
        return _dense(self.in_dim, self.rank, kwargs)

    def make_learner_layer(self, **kwargs: Any) -> keras.layers.Layer:
        """Return a built `Dense` layer from `rank` to `units`."""
        return _dense(self.rank, self.units, kwargs)


def _dense(in_dim: int, units: int, kwargs: dict[str, Any]) -> keras.layers.Dense:
    layer = keras.layers.Dense(units, **kwargs)
    layer.build((None, in_dim))
    return layer
