"""Export a Keras model to other runtimes and check the result."""

# The command line uses `custom_objects` and `FORMATS` too; they are not part of the public API.
from keras_sac.deployment._conversion_task import custom_objects as custom_objects
from keras_sac.deployment._export import export
from keras_sac.deployment._exported import Exported, ExportError
from keras_sac.deployment._formats import FORMATS as FORMATS
from keras_sac.deployment._formats import Format, register_format
from keras_sac.deployment._signature import Signature

__all__ = [
    "ExportError",
    "Exported",
    "Format",
    "Signature",
    "export",
    "register_format",
]
