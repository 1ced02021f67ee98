"""Small networks for Keras 3: layers trained inside a fixed, data-derived subspace."""

from keras_sac import analysis, bases, layers
from keras_sac._version import __version__
from keras_sac.layers import (
    BasisFinetuning,
    SACConv1D,
    SACConv2D,
    SACConv3D,
    SACDense,
    SACEinsumDense,
    precompute_projection,
)

__all__ = [
    "BasisFinetuning",
    "SACConv1D",
    "SACConv2D",
    "SACConv3D",
    "SACDense",
    "SACEinsumDense",
    "__version__",
    "analysis",
    "bases",
    "layers",
    "precompute_projection",
]
