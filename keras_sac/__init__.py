"""Small networks for Keras 3: subspace layers, pruning, sparse heads and L1."""

import importlib.util as _util
import os as _os

try:
    import keras as _keras  # noqa: F401
except ImportError as _error:
    # Keras' own error names only the backend that it looked for.
    _found = [each for each in ("tensorflow", "torch", "jax") if _util.find_spec(each)]
    raise ImportError(
        f"Keras could not be imported ({_error}). It needs one of the backends tensorflow, torch "
        "and jax, and uses the one that the environment variable KERAS_BACKEND names (default: "
        f"tensorflow). Received: KERAS_BACKEND={_os.environ.get('KERAS_BACKEND')}. Installed here: "
        f"{', '.join(_found) or 'none'}. Set KERAS_BACKEND to an installed one, or install one, "
        "such as `pip install keras-sac[torch]`."
    ) from _error

from keras_sac import (
    analysis,
    bases,
    calibration,
    conversion,
    deployment,
    heads,
    layers,
    pruning,
    regularization,
    removal,
    sparse_file,
    sparse_runtime,
    tfmot,
)
from keras_sac._io import InvalidFileError
from keras_sac._model import KernelAxes, LayerKind, register_layer
from keras_sac._version import __version__
from keras_sac.analysis import activation_sparsity, compare, footprint, latency
from keras_sac.calibration import Calibration, recalibrate_batch_norm
from keras_sac.conversion import convert_to_sac, merge_sac
from keras_sac.deployment import export
from keras_sac.heads import (
    Entmax15,
    Entmax15Loss,
    Sparsemax,
    SparsemaxLoss,
    entmax15,
    sparsemax,
    swap_head,
)
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
    apply_masks,
    filter_sparsity,
    prune_by_threshold,
    prune_filters_by_norm,
    prune_to_sparsity,
    prune_with_data,
    sparsity,
)
from keras_sac.regularization import ProximalL1, add_kernel_l1
from keras_sac.removal import remove_units, remove_zero_filters
from keras_sac.sparse_file import load_sparse, save_sparse
from keras_sac.sparse_runtime import to_sparse_runtime

__all__ = [
    "BasisFinetuning",
    "Calibration",
    "ConstantSparsity",
    "Entmax15",
    "Entmax15Loss",
    "InvalidFileError",
    "KernelAxes",
    "LayerKind",
    "PolynomialDecay",
    "ProximalL1",
    "PruningOptimizer",
    "SACConv1D",
    "SACConv2D",
    "SACConv3D",
    "SACDense",
    "SACEinsumDense",
    "Sparsemax",
    "SparsemaxLoss",
    "SparsityLogger",
    "__version__",
    "activation_sparsity",
    "add_kernel_l1",
    "analysis",
    "apply_masks",
    "bases",
    "calibration",
    "compare",
    "conversion",
    "convert_to_sac",
    "deployment",
    "entmax15",
    "export",
    "filter_sparsity",
    "footprint",
    "heads",
    "latency",
    "layers",
    "load_sparse",
    "merge_sac",
    "precompute_projection",
    "prune_by_threshold",
    "prune_filters_by_norm",
    "prune_to_sparsity",
    "prune_with_data",
    "pruning",
    "recalibrate_batch_norm",
    "register_layer",
    "regularization",
    "removal",
    "remove_units",
    "remove_zero_filters",
    "save_sparse",
    "sparse_file",
    "sparse_runtime",
    "sparsemax",
    "sparsity",
    "swap_head",
    "tfmot",
    "to_sparse_runtime",
]
