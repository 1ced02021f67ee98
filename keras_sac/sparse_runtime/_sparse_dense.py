"""`SparseDense`: a dense layer, or a 1x1 convolution, that runs as a CSR product."""

from typing import Any

import keras

from keras_sac.sparse_runtime import _csr_product
from keras_sac.sparse_runtime._matrix_layer import (
    MatrixLayer,
    input_shape_of,
    kernel_of,
    settings_of,
)
from keras_sac.sparse_runtime._padded_csr import WIDTH, PaddedCsr, padded_csr


@keras.saving.register_keras_serializable(package="keras_sac")
class SparseDense(MatrixLayer):
    """What `to_sparse_runtime` puts in the place of a layer whose CSR product is faster.

    `y = activation(x W + bias)`; of `W (in_dim, units)` only the entries that are not zero are
    kept. For inference: there are no trainable weights, and a call with `training=True` is refused.
    A saved model with such layers loads on any backend, where it need not be faster than dense.

    Args:
        pieces: number of pieces of the matrix, as `padded_csr` counts them.
        **kwargs: as for any `MatrixLayer`.

    Input shape: `(batch, ..., in_dim)`, or `(batch, in_dim, ...)`.
    Output shape: `(batch, ..., units)`, or `(batch, units, ...)`.
    """

    def __init__(self, *, pieces: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.pieces = pieces
        # On TensorFlow, Keras would otherwise let XLA compile the whole model where there is a GPU.
        self.supports_jit = _csr_product.is_compiled_by_xla()
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

    def load_own_variables(self, store: Any) -> None:
        """Take the weights from a file."""
        super().load_own_variables(store)
        self._prepared = {}

    def set_weights(self, weights: Any) -> None:
        """Take the weights from arrays."""
        super().set_weights(weights)
        self._prepared = {}

    def get_config(self) -> dict[str, Any]:
        """Return the configuration; the matrix is weights."""
        return {**super().get_config(), "pieces": self.pieces}

    def _product(self, x: Any) -> Any:
        matrix = PaddedCsr(**self.matrix)
        place = _csr_product.place_of(x)
        if place not in self._prepared:
            self._prepared[place] = _csr_product.prepare(matrix, self.in_dim)
        return _csr_product.multiply(x, matrix, self._prepared[place])


def sparse_of(layer: keras.layers.Layer) -> SparseDense:
    """Return a layer with the same outputs that runs as a CSR product.

    Args:
        layer: built, a layer that is one matrix product (`why_not_one_product` returns `None`).
    """
    matrix = padded_csr(kernel_of(layer))
    new = SparseDense(pieces=len(matrix.rows), **settings_of(layer))
    new.build(input_shape_of(layer))
    bias = [] if layer.bias is None else [keras.ops.convert_to_numpy(layer.bias)]
    new.set_weights([*bias, *matrix])
    return new
