"""Everything that this package patches in objects of Keras, with the reasons.

- `model.get_compile_config`, on a single model: Keras saves the optimizer that `compile` received,
  and has no public way to save the present one. Without the patch a saved or cloned model would
  lose the masks and the step.
- `layer._input_shape_arg`, on a single layer: Keras has no public way to set the `input_shape` of a
  layer after it is created, which `prune_low_magnitude(layer, input_shape=...)` does.
- `model.compiled`, on a single model: tfmot returns a model that is not compiled, and Keras has no
  public way to undo `compile`.

No class of Keras is patched. `compile` and `fit` are those of Keras.
"""

import types
from collections.abc import Sequence
from typing import Any

import keras

from keras_sac._optimizer import portable_config


def save_present_optimizer(model: keras.Model) -> None:
    """Let a model be saved with `model.optimizer` as it is, not as `compile` received it."""
    model.get_compile_config = types.MethodType(_compile_config, model)


def undo_compile(model: keras.Model) -> None:
    """Let a compiled model be compiled again before it is trained."""
    if model.compiled:
        model.optimizer = None
        model.compiled = False


def set_input_shape(layer: keras.layers.Layer, input_shape: Sequence[int]) -> None:
    """Set the shape of the inputs of a layer that is the first of a `Sequential` model."""
    layer._input_shape_arg = tuple(input_shape)


def _compile_config(model: keras.Model) -> dict[str, Any]:
    config = type(model).get_compile_config(model)
    if not config:
        return config
    return {**config, "optimizer": portable_config(model.optimizer)}
