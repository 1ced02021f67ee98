"""Export a Keras model to other runtimes and check the result."""

from keras_sac.deployment._errors import ExportError
from keras_sac.deployment._export import export
from keras_sac.deployment._exported import Exported

# For the command line.
from keras_sac.deployment._formats import FORMATS as FORMATS

__all__ = [
    "ExportError",
    "Exported",
    "export",
]
