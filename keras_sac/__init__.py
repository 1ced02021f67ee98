"""Small networks for Keras 3: layers trained inside a data-derived subspace, and pruning."""

from keras_sac import analysis, bases, layers, pruning, tfmot
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
from keras_sac.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    PruningOptimizer,
    SparsityLogger,
    filter_sparsity,
    prune_by_threshold,
    prune_filters_by_norm,
    prune_to_sparsity,
    sparsity,
)

__all__ = [
    "BasisFinetuning",
    "ConstantSparsity",
    "PolynomialDecay",
    "PruningOptimizer",
    "SACConv1D",
    "SACConv2D",
    "SACConv3D",
    "SACDense",
    "SACEinsumDense",
    "SparsityLogger",
    "__version__",
    "analysis",
    "bases",
    "filter_sparsity",
    "layers",
    "precompute_projection",
    "prune_by_threshold",
    "prune_filters_by_norm",
    "prune_to_sparsity",
    "pruning",
    "sparsity",
    "tfmot",
]
