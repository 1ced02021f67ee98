"""Run code written for `tensorflow_model_optimization`: `import keras_sac.tfmot as tfmot`."""

from typing import Any

from keras_sac.tfmot import sparsity

__all__ = ["sparsity"]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"`keras_sac.tfmot` has only the part `tfmot.sparsity.keras` of "
        f"`tensorflow_model_optimization`. Received: {name!r}"
    )
