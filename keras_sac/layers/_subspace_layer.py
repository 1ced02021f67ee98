"""`SubspaceLayer`: base class of the layers with a fixed basis and a trained learner."""

from typing import Any, Self

import keras
from keras import ops

from keras_sac._arguments import drawn_seed
from keras_sac.bases import Basis
from keras_sac.layers._adapt import adapt_layer
from keras_sac.layers._basis_source import resolve
from keras_sac.layers._basis_state import (
    basis_is_missing,
    missing_basis,
    require_basis,
    require_built,
)
from keras_sac.layers._from_stock_layer import sac_from_stock
from keras_sac.layers._orthonormal import Orthonormal
from keras_sac.layers._stock_versions import factor_layers, merged_layer
from keras_sac.layers._subspace_config import subspace_config
from keras_sac.layers._subspace_hooks import SubspaceHooks
from keras_sac.layers._subspace_weights import add_weights


class SubspaceLayer(SubspaceHooks):
    """Base class of the SAC layers: kernel = basis (fixed) times learner (trained).

    `kernel (in_dim, units) = basis (in_dim, rank) @ learner (rank, units)`. Use `SACDense`,
    `SACConv1D/2D/3D` or `SACEinsumDense`; subclass this class to factor another layer.

    Weights, in this order: `learner`, `bias` (with `use_bias`), `basis`, `mean` (with `center`).

    A subclass sets `stock_class` to the layer class that it replaces, calls `add_subspace_weights`
    in `build`, and implements the abstract methods. The table of layer classes tells how
    `stock_class` reads its inputs as rows and which axes its kernel has, so the subclass needs the
    attributes of that class that the entry reads (`kernel_size`, `equation`, ...); for a class
    that is not in the table, call `keras_sac.register_layer` first. The methods with a body are
    defaults for layers that multiply the last axis of their inputs; override them otherwise.

    Args: as in `SACDense`, without `units`.

    Examples:
        >>> import keras, numpy as np
        >>> from keras import ops
        >>> from keras_sac.layers import SubspaceLayer
        >>> def dense(in_dim, units, **kwargs):
        ...     layer = keras.layers.Dense(units, **kwargs)
        ...     layer.build((None, in_dim))
        ...     return layer
        >>> class SACLinear(SubspaceLayer):
        ...     stock_class = keras.layers.Dense
        ...     def __init__(self, units, basis, **kwargs):
        ...         super().__init__(basis, **kwargs)
        ...         self.units = units
        ...     def build(self, input_shape):
        ...         self.add_subspace_weights(self.input_grid(input_shape), self.units)
        ...     def get_config(self):
        ...         return {**super().get_config(), "units": self.units}
        ...     def input_grid(self, input_shape):
        ...         return (input_shape[-1],)
        ...     def kernel_shape(self):
        ...         return (self.in_dim, self.units)
        ...     def apply_basis(self, inputs):
        ...         return ops.matmul(inputs, self.basis)
        ...     def apply_learner(self, projections):
        ...         return ops.matmul(projections, self.learner)
        ...     def apply_kernel(self, inputs, kernel):
        ...         return ops.matmul(inputs, kernel)
        ...     def make_stock_layer(self, **kwargs):
        ...         return dense(self.in_dim, self.units, **kwargs)
        ...     def make_basis_layer(self, **kwargs):
        ...         return dense(self.in_dim, self.rank, **kwargs)
        ...     def make_learner_layer(self, **kwargs):
        ...         return dense(self.rank, self.units, **kwargs)
        >>> x = np.random.default_rng(0).normal(size=(64, 9)).astype("float32")
        >>> layer = SACLinear(4, "pca", rank=2)
        >>> layer.adapt(x)
        >>> tuple(layer(x).shape), type(layer.to_dense()).__name__
        ((64, 4), 'Dense')
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
        self.kind, self._given, self.rank = resolve(basis, rank)
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.center = center
        self.basis_trainable = basis_trainable
        self.basis_constraint = keras.constraints.get(basis_constraint)
        # `None` stands for the initialization that keeps the stock layer's output variance.
        self.learner_initializer = keras.initializers.get(learner_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.learner_regularizer = keras.regularizers.get(learner_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.learner_constraint = keras.constraints.get(learner_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.seed = drawn_seed(seed)
        self._gain: float | None = None
        self._basis_is_set = False
        if center and self._given is not None and self._given.mean is None:
            raise ValueError(
                "`center=True` needs the mean of the data. Received: a basis without one. Use a "
                "basis computed from data, give it a mean (`Basis(matrix, mean=mean)`), or pass "
                "`center=False`."
            )

    def add_subspace_weights(
        self,
        grid: tuple[int, ...],
        units: int,
        *,
        fan_in: int | None = None,
        fan_out: int | None = None,
        bias_shape: tuple[int, ...] | None = None,
    ) -> None:
        """Add `learner`, `bias`, `basis` and `mean`. Call it in `build`.

        Args:
            grid: the result of `input_grid`; its product is `in_dim`.
            units: number of columns of the learner.
            fan_in: `fan_in` of the stock layer's kernel, for the initialization of the learner.
                Defaults to `in_dim`.
            fan_out: likewise. Defaults to `units`.
            bias_shape: shape of the stock layer's bias. Defaults to `(units,)`.
        """
        add_weights(self, grid, units, (fan_in, fan_out), bias_shape)
        self._kernel_axes = self.kernel_axes()

    # The products.

    @property
    def kernel(self) -> Any:
        """The merged kernel `basis @ learner`, in the shape of the stock layer's kernel."""
        require_built(self, "kernel")
        matrix = ops.matmul(self.basis, self.learner)
        return self._kernel_axes.from_matrix(matrix, self.kernel_shape(), ops)

    def project(self, inputs: Any) -> Any:
        """Return `z = (x - mean) B`, the coordinates of the inputs in the subspace.

        The mean is subtracted with `center=True` only. The last axis of `z` (the channel axis, for
        convolutions) has the size `rank`.
        """
        require_built(self, "project")
        if not self._basis_is_set:
            require_basis(self, inputs, None)
        projections = self.apply_basis(inputs)
        if self.mean is not None:
            shift = ops.matmul(self.mean, self.basis)
            projections = ops.subtract(projections, self.broadcast_to_projections(shift))
        return projections

    def combine(self, projections: Any) -> Any:
        """Return `activation(z L + bias)`, the outputs for projections `z`."""
        require_built(self, "combine")
        return self._finish(self.apply_learner(projections))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `activation((x - mean) B L + bias)` in the cheaper order of the products."""
        if not self._basis_is_set:
            require_basis(self, inputs, training)
        if self.is_factored(inputs):
            return self.combine(self.project(inputs))
        outputs = self.apply_kernel(inputs, self.kernel)
        if self.mean is not None:
            shift = ops.matmul(ops.matmul(self.mean, self.basis), self.learner)
            outputs = ops.subtract(outputs, self.broadcast_to_outputs(shift))
        return self._finish(outputs)

    def _finish(self, outputs: Any) -> Any:
        if self.bias is not None:
            outputs = self.add_bias(outputs)
        return outputs if self.activation is None else self.activation(outputs)

    # The basis over the life of the layer.

    def adapt(
        self,
        data: Any,
        labels: Any = None,
        *,
        batch_size: int | None = None,
        verbose: str | int = "auto",
    ) -> None:
        """Compute the basis and the mean from the layer's inputs, and initialize the learner.

        Computes the basis itself for `"pca"`, `"pca_whitened"`, `"lda"` and `"lda_pca"`. Any other
        basis stays; the data then give the mean for `center` and the scale of the default learner.
        Builds the layer if necessary, and reads the data once. If the model was trained before,
        compile it again: its optimizer remembers the old learner.

        Args:
            data: inputs of this layer: an array, memmap, tensor, or any iterable of batches
                (generator, `tf.data`, torch `DataLoader`, `PyDataset`). A batch is `x` or `(x, y)`.
            labels: integer class labels for `"lda"` and `"lda_pca"`, unless `data` yields them.
            batch_size: samples per batch, for arrays. Defaults to 8192, or 256 for convolutions.
            verbose: 0, or `"auto"`, 1 or 2 for a progress bar if the pass takes over two seconds.

        Raises:
            ValueError: if the data do not fit the layer or the kind of basis. The layer is then
                unchanged.
        """
        adapt_layer(self, data, labels, batch_size, verbose)

    def get_basis(self) -> Basis:
        """Return the current basis as a `Basis`, with the layer's mean if it has one.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        require_built(self, "get_basis()")
        if basis_is_missing(self):
            raise missing_basis(self)
        mean = None if self.mean is None else ops.convert_to_numpy(self.mean)
        return Basis(ops.convert_to_numpy(self.basis), kind=self.kind, mean=mean)

    def unfreeze_basis(self, *, orthonormal: bool = False) -> None:
        """Train the basis from now on, together with the learner.

        Compile the model again afterwards, as after any change of `trainable`. To unfreeze in the
        middle of `fit`, use the callback `BasisFinetuning`.

        Args:
            orthonormal: keep the columns orthonormal, by a QR retraction after every update.
                Otherwise the layer's own `basis_constraint` holds.
        """
        if orthonormal:
            self.basis_constraint = Orthonormal()
        self._set_basis_trainable(True)

    def freeze_basis(self) -> None:
        """Stop training the basis. Compile the model again afterwards."""
        self._set_basis_trainable(False)

    def _set_basis_trainable(self, value: bool) -> None:
        self.basis_trainable = value
        if self.built:
            self.basis.trainable = value and self.trainable
            self.basis.constraint = self.basis_constraint

    @property
    def trainable(self) -> bool:
        """Whether the layer is trained. The basis is trained only with `basis_trainable`, too."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)  # type: ignore[attr-defined]
        if getattr(self, "basis", None) is not None:
            self.basis.trainable = self.basis_trainable and bool(value)

    # Conversion and serialization.

    @classmethod
    def from_stock_layer(
        cls, layer: Any, basis: Any, learner: Any, *, bias: Any = None, **kwargs: Any
    ) -> Self:
        """Return a SAC layer with the kernel `basis @ learner` for the place of a stock layer.

        The inverse of `to_dense`. Name, dtype policy, `trainable`, activation, bias, and the
        regularizers and the constraint of bias and outputs are those of the stock layer. Its
        kernel's regularizer and constraint are dropped: they are made for another shape.

        Args:
            layer: built layer of the class `stock_class`, not of a subclass. It is not changed.
            basis: a `Basis` or an array of shape `(in_dim, rank)`.
            learner: array of shape `(rank, units)`; for convolutions as their `reading` has it.
            bias: array of the shape of the layer's bias, or with one number for each output.
                Defaults to the layer's bias; a layer without one gets one if it is given.
            **kwargs: other arguments of the constructor, such as `reading`.

        Returns:
            A built layer.

        Raises:
            ValueError: if the layer is of another class, not built, quantized, in groups, or has
                LoRA adapters, or if the shapes do not fit.

        Examples:
            >>> import keras, numpy as np
            >>> from keras_sac import SACDense
            >>> dense = keras.layers.Dense(4)
            >>> dense.build((None, 9))
            >>> u, s, vt = np.linalg.svd(dense.get_weights()[0], full_matrices=False)
            >>> SACDense.from_stock_layer(dense, u[:, :2], s[:2, None] * vt[:2]).rank
            2
        """
        return sac_from_stock(cls, layer, basis, learner, bias, kwargs)

    def to_dense(self) -> keras.layers.Layer:
        """Return the stock Keras layer with the merged kernel and the same outputs.

        The stock layer has no counterpart for the learner's regularizer and constraint; they are
        dropped.

        Returns:
            A built `keras.layers.Dense`, `Conv1D/2D/3D` or `EinsumDense` of the same name.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        return merged_layer(self)

    def to_factors(self) -> keras.Sequential:
        """Return two stock Keras layers, `x B` and `z L`, with the same outputs.
        Zeros of the learner stay zero. Constraints and regularizers of the weights are dropped.

        Returns:
            A `keras.Sequential` of the same name with two built layers, `Dense`, `Conv1D/2D/3D` or
            `EinsumDense`; the first is not trainable.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        return factor_layers(self)

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Refuse LoRA adapters: the layer has low rank already."""
        rank = f"{self.name!r} has a learner of rank {self.rank} already"
        raise NotImplementedError(f"{rank}. Train it instead of LoRA adapters.")

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. It names the kind of the basis; the matrix is a weight."""
        return {**super().get_config(), **subspace_config(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SubspaceLayer":
        """Make a layer from its configuration; in the same process, with the same basis."""
        config = dict(config)
        gain = config.pop("learner_gain", None)
        layer = super().from_config(config)
        layer._gain = gain
        return layer
