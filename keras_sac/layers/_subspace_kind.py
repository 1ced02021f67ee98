"""The entry of the SAC layers in the table of layer classes."""

import math
from typing import Any

import keras
import numpy as np

from keras_sac._model import KernelAxes, LayerKind, register_layer
from keras_sac.layers._subspace_layer import SubspaceLayer


class SubspaceKind(LayerKind):
    """`y = (x B) L` or `x (B L)`, whichever takes fewer multiplications."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the learner, `(rank, units)`: the trained one of the two factors."""
        return {"learner": KernelAxes((0,), (1,))}

    def uses(
        self, layer: Any, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> float:
        """Return the number of positions of the output."""
        return math.prod(output_shape) / layer.learner.shape[-1]

    def multiplied(self, layer: Any) -> dict[str, Any]:
        """Return basis and learner, or the kernel where one product is cheaper than two."""
        (in_dim, rank), units = layer.basis.shape, layer.learner.shape[-1]
        if rank * (in_dim + units) <= in_dim * units:
            return {"basis": layer.basis, "learner": layer.learner}
        # The layer forms the kernel then, once a batch, which is not counted.
        basis, learner = map(keras.ops.convert_to_numpy, (layer.basis, layer.learner))
        return {"kernel": np.matmul(basis, learner)}

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs as rows of the width of the basis."""
        return layer._samples(inputs)


register_layer(SubspaceLayer, SubspaceKind())
