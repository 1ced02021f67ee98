"""Entry of the SAC layers in the table of layer classes."""

from typing import Any

import keras
import numpy as np

from keras_sac._model import KernelAxes, LayerKind, register_layer
from keras_sac.layers._product_order import factored_is_cheaper
from keras_sac.layers._stock_versions import stock_kind
from keras_sac.layers._subspace_layer import SubspaceLayer


class SubspaceKind(LayerKind):
    """SAC layers: `y = (x B) L` or `x (B L)`, whichever takes fewer multiplications."""

    def kernels(self, layer: Any) -> dict[str, KernelAxes]:
        """Return the axes of the learner, `(rank, units)`, the factor that is trained."""
        return {"learner": KernelAxes((0,), (1,))}

    def uses(
        self, layer: Any, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> dict[str, float]:
        """Return the uses of basis and learner, or of the kernel if one product is cheaper."""
        (in_dim, rank), units = layer.basis.shape, layer.learner.shape[1]
        basis, learner = layer.uses(input_shape, output_shape)
        if factored_is_cheaper(None, in_dim, rank, units, spread=basis / learner):
            return {"basis": basis, "learner": learner}
        # The layer then forms the kernel once per batch, which is not counted.
        return {"kernel": learner}

    def multiplied(self, layer: Any) -> dict[str, Any]:
        """Return basis, learner, and the matrix of the kernel."""
        basis, learner = map(keras.ops.convert_to_numpy, (layer.basis, layer.learner))
        return {"basis": basis, "learner": learner, "kernel": np.matmul(basis, learner)}

    def rows(self, layer: Any, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs as rows of the width of the basis."""
        return layer.rows(inputs)

    def kernel_rows(
        self, layer: Any, inputs: np.ndarray, mask: Any = None
    ) -> dict[str, np.ndarray]:
        """Return what the learner multiplies: the projections of the inputs."""
        if getattr(layer, "reading", "patches") != "patches":
            # The learner is a convolution then, with several taps.
            return {}
        projections = keras.ops.convert_to_numpy(layer.project(inputs))
        axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
        return {"learner": np.moveaxis(projections, axis, -1).reshape(-1, layer.rank)}

    def output_rows(self, layer: Any, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs as those of the stock layer."""
        return stock_kind(layer.stock_class).output_rows(layer, outputs)


register_layer(SubspaceLayer, SubspaceKind())
