"""From a trained model to files: for other programs, and as small as what is not zero."""

from keras_sac.deployment._errors import ExportError
from keras_sac.deployment._export import export
from keras_sac.deployment._report import Exported
from keras_sac.deployment._sparse_file import load_sparse, save_sparse
from keras_sac.deployment._sparse_runtime import to_sparse_runtime

__all__ = [
    "ExportError",
    "Exported",
    "export",
    "load_sparse",
    "save_sparse",
    "to_sparse_runtime",
]
