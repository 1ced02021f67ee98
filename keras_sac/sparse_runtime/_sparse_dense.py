"""`SparseDense`: inference layer that replaces a dense layer or 1x1 convolution."""

from typing import Any

import keras
import numpy as np

from keras_sac.sparse_runtime._csr_product import (
    is_compiled_by_xla,
    multiply,
    place_of,
    prepare,
)
from keras_sac.sparse_runtime._matrix_layer import (
    MatrixLayer,
    input_shape_of,
    kernel_of,
    settings_of,
)
from keras_sac.sparse_runtime._padded_csr import WIDTH, PaddedCsr, padded_csr


@keras.saving.register_keras_serializable(package="keras_sac")
class SparseDense(MatrixLayer):
    """Inference layer with a sparse kernel; made by `to_sparse_runtime`.

    `y = activation(x W + bias)`, where only the nonzero entries of `W (in_dim, units)` are stored.
    The layer has no trainable weights, and a call with `training=True` raises an error. A saved
    model with such layers loads on any backend, but may be slower there than a dense one.

    Args:
        pieces: number of pieces of the matrix in the format `PaddedCsr`.
        **kwargs: arguments of `MatrixLayer`.

    Input shape: `(batch, ..., in_dim)`, or `(batch, in_dim, ...)`.
    Output shape: `(batch, ..., units)`, or `(batch, units, ...)`.
    """

    def __init__(self, *, pieces: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.pieces = pieces
        # On TensorFlow with a GPU, Keras would otherwise compile the whole model with XLA.
        self.supports_jit = is_compiled_by_xla()
        self._prepared: dict[Any, Any] = {}

    def build(self, input_shape: Any) -> None:
        """Add the weights for inputs of `input_shape`."""
        super().build(input_shape)
        shapes = {
            "values": (self.pieces, WIDTH),
            "columns": (self.pieces, WIDTH),
            "rows": (self.pieces,),
            "offsets": (self.units + 1,),
        }
        self.matrix = {
            name: self.add_weight(
                name=name,
                shape=shape,
                initializer="zeros",
                dtype=None if name == "values" else "int32",
                trainable=False,
            )
            for name, shape in shapes.items()
        }
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={self._channels: self.in_dim})

    def dense_kernel(self) -> np.ndarray:
        """Return the kernel `(in_dim, units)` with its zeros."""
        arrays = {name: keras.ops.convert_to_numpy(each) for name, each in self.matrix.items()}
        return PaddedCsr(**arrays).to_kernel(self.in_dim)

    def load_own_variables(self, store: Any) -> None:
        """Load the weights from a file."""
        super().load_own_variables(store)
        self._prepared = {}

    def set_weights(self, weights: Any) -> None:
        """Set the weights from arrays."""
        super().set_weights(weights)
        self._prepared = {}

    def get_config(self) -> dict[str, Any]:
        """Return the configuration. The matrix is not part of it: it is stored in the weights."""
        return {**super().get_config(), "pieces": self.pieces}

    def _product(self, x: Any) -> Any:
        matrix = PaddedCsr(**self.matrix)
        place = place_of(x)
        if place not in self._prepared:
            self._prepared[place] = prepare(matrix, self.in_dim)
        return multiply(x, matrix, self._prepared[place])


def sparse_of(layer: keras.layers.Layer) -> SparseDense:
    """Return a layer with the same outputs that runs as a CSR product.

    Args:
        layer: built layer that is one matrix product (`why_not_one_product` returns `None`).
    """
    matrix = padded_csr(kernel_of(layer))
    new = SparseDense(pieces=len(matrix.rows), **settings_of(layer))
    new.build(input_shape_of(layer))
    bias = [] if layer.bias is None else [keras.ops.convert_to_numpy(layer.bias)]
    new.set_weights([*bias, *matrix])
    return new
