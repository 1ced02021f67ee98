"""What all layers with a fixed basis and a trained learner share."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac.layers._adapt import basis_of_inputs
from keras_sac.layers._factor_layers import factor_layers
from keras_sac.layers._learner_scale import input_gain
from keras_sac.layers._merged_layer import merged_layer
from keras_sac.layers._orthonormal import Orthonormal
from keras_sac.layers._state import SubspaceState


class SubspaceLayer(SubspaceState):
    """Base of the SAC layers: kernel = basis (fixed) times learner (trained).

    `kernel (in_dim, units) = basis (in_dim, rank) @ learner (rank, units)`, applied as two thin
    products. Use `SACDense`, `SACConv1D/2D/3D` or `SACEinsumDense`; this class is for
    `isinstance` and for a sibling of yours, which says how inputs are read as rows of width
    `in_dim` (`_grid`, `_samples`), how the products are carried out (`_apply_basis`,
    `_apply_learner`, `_apply_kernel`, `_factored`), what stock layer it replaces
    (`_kernel_shape`, `_stock_layer`), and which two do the same (`_basis_layer`, `_learner_layer`).

    Weights, in this order: `learner`, `bias`, `basis`, `mean` (with `center`).
    """

    # Samples a batch when `adapt` reads an array.
    _adapt_batch_size = 8192

    @property
    def kernel(self) -> Any:
        """The merged kernel, in the stock layer's shape: `basis @ learner`."""
        self._require_built("kernel")
        return self._shape_kernel(ops, ops.matmul(self.basis, self.learner))

    def _shape_kernel(self, xp: Any, matrix: Any) -> Any:
        """Give `(in_dim, units)` the stock kernel's shape; `xp` is `keras.ops` or NumPy."""
        return xp.reshape(matrix, self._kernel_shape())

    # The products.

    def project(self, inputs: Any) -> Any:
        """Return `z = (x - mean) B`, the inputs' coordinates in the subspace.

        The mean is subtracted with `center=True` only. The last axis of `z` (the channel axis, for
        convolutions) has the size `rank`.
        """
        self._require_built("project")
        if not self._basis_is_set:
            self._check_basis_is_set(inputs, None)
        projections = self._apply_basis(inputs)
        if self.mean is not None:
            shift = ops.matmul(self.mean, self.basis)
            projections = ops.subtract(projections, self._over_projections(shift))
        return projections

    def combine(self, projections: Any) -> Any:
        """Return `activation(z L + bias)`, what the layer makes of its projections."""
        self._require_built("combine")
        return self._finish(self._apply_learner(projections))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return `activation((x - mean) B L + bias)` in the cheaper order of the products."""
        if not self._basis_is_set:
            self._check_basis_is_set(inputs, training)
        if self._factored(inputs):
            return self.combine(self.project(inputs))
        outputs = self._apply_kernel(inputs, self.kernel)
        if self.mean is not None:
            shift = ops.matmul(ops.matmul(self.mean, self.basis), self.learner)
            outputs = ops.subtract(outputs, self._over_outputs(shift))
        return self._finish(outputs)

    def _finish(self, outputs: Any) -> Any:
        if self.bias is not None:
            outputs = self._add_bias(outputs)
        return outputs if self.activation is None else self.activation(outputs)

    def _over_projections(self, vector: Any) -> Any:
        """Shape a vector `(rank,)` so that it broadcasts over projections."""
        return vector

    def _over_outputs(self, vector: Any) -> Any:
        """Shape a vector `(units,)` so that it broadcasts over outputs."""
        return vector

    def _add_bias(self, outputs: Any) -> Any:
        """Add the bias to the outputs."""
        return ops.add(outputs, self.bias)

    def _as_bias(self, vector: np.ndarray) -> np.ndarray:
        """Give a vector `(units,)` the shape of the stock layer's bias."""
        return vector

    def _samples_at_once(self, inputs: np.ndarray) -> int:
        """Return how many of the inputs `adapt` reads as rows at once."""
        return len(inputs)

    # The basis over the life of the layer.

    def adapt(
        self,
        data: Any,
        labels: Any = None,
        *,
        batch_size: int | None = None,
        verbose: str | int = "auto",
    ) -> None:
        """Compute the basis (and the mean) from the layer's inputs, and initialise the learner.

        For `"pca"`, `"pca_whitened"`, `"lda"` and `"lda_pca"` the basis itself is computed. Any
        other basis stays; the data then give the mean for `center` and the scale of the default
        learner. Builds the layer if need be. One pass over the data. Compile the model again if
        it was trained before: its optimizer remembers the old learner.

        Args:
            data: what the layer will see: array, memmap, tensor, or any iterable of batches
                (generator, `tf.data.Dataset`, torch `DataLoader`, `keras.utils.PyDataset`), a
                batch being `x` or `(x, y)`.
            labels: integer class labels, one a sample, for `"lda"` and `"lda_pca"`, where `data`
                does not bring them.
            batch_size: samples a batch, for arrays.
            verbose: `0` is silent; `"auto"` and `1` show a progress bar on long passes.

        Raises:
            ValueError: if the data do not fit the layer or the kind of basis; the layer is then as
                it was.
        """
        batch_size = self._adapt_batch_size if batch_size is None else batch_size
        basis, input_shape = basis_of_inputs(self, data, labels, batch_size, verbose != 0)
        if not self.built:
            self.build(input_shape)
        self._gain = input_gain(basis, self.center)
        self.basis.assign(basis.matrix)
        if self.mean is not None:
            self.mean.assign(basis.mean)
        self.learner.assign(self._draw_learner(self.learner.shape, self.learner.dtype))
        self._basis_is_set = True

    def unfreeze_basis(self, *, orthonormal: bool = False) -> None:
        """Let the basis be trained from now on, together with the learner.

        Compile the model again afterwards, as after any change of `trainable`; to do it in the
        middle of `fit`, use the callback `BasisFinetuning`.

        Args:
            orthonormal: keep the columns orthonormal, by a QR retraction after every update;
                otherwise the layer's own `basis_constraint` holds.
        """
        if orthonormal:
            self.basis_constraint = Orthonormal()
        self._set_basis_trainable(True)

    def freeze_basis(self) -> None:
        """Keep the basis as it is from now on. Compile the model again afterwards."""
        self._set_basis_trainable(False)

    def _set_basis_trainable(self, value: bool) -> None:
        self.basis_trainable = value
        if self.built:
            self.basis.trainable = value and self.trainable
            self.basis.constraint = self.basis_constraint

    def to_dense(self) -> keras.layers.Layer:
        """Return the stock Keras layer with the merged kernel: same outputs, no SAC in it.

        Regularizer and constraint of the learner have no counterpart there and are dropped.

        Returns:
            A built `keras.layers.Dense`, `Conv1D/2D/3D` or `EinsumDense` of the same name.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        return merged_layer(self)

    def to_factors(self) -> keras.Sequential:
        """Return two stock Keras layers, `x B` and `z L`: same outputs, no SAC in them.

        For programs without this package, where the two products are to stay two. The learner keeps
        its zeros. Constraints and regularizers of the weights are dropped.

        Returns:
            A `keras.Sequential` of the same name with two built layers, `Dense`, `Conv1D/2D/3D` or
            `EinsumDense`; the first is not trainable.

        Raises:
            ValueError: if the layer is not built, or has no basis yet.
        """
        return factor_layers(self)
