"""Entry of the SAC layers in the table of layer classes."""

import math
from typing import Any

import keras
import numpy as np

from keras_sac._model import KernelAxes, LayerKind, register_layer
from keras_sac.layers._product_order import factored_is_cheaper
from keras_sac.layers._subspace_layer import SubspaceLayer


class SubspaceKind(LayerKind):
    """SAC layers: `y = (x B) L` or `x (B L)`, whichever takes fewer multiplications."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the learner, `(rank, units)`, the factor that is trained."""
        return {"learner": KernelAxes((0,), (1,))}

    def uses(
        self, layer: Any, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> float:
        """Return the number of positions of the output."""
        return math.prod(output_shape) / layer.learner.shape[-1]

    def multiplied(self, layer: Any) -> dict[str, Any]:
        """Return basis and learner, or the kernel if one product is cheaper than two."""
        (in_dim, rank), units = layer.basis.shape, layer.learner.shape[-1]
        if factored_is_cheaper(None, in_dim, rank, units):
            return {"basis": layer.basis, "learner": layer.learner}
        # The layer then forms the kernel once per batch, which is not counted.
        basis, learner = map(keras.ops.convert_to_numpy, (layer.basis, layer.learner))
        return {"kernel": np.matmul(basis, learner)}

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs as rows of the width of the basis."""
        return layer.rows(inputs)


register_layer(SubspaceLayer, SubspaceKind())
