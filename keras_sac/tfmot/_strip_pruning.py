"""Taking the pruning off a model."""

import warnings

import keras
import numpy as np

from keras_sac._model import all_layers
from keras_sac.tfmot._marks import marked_layers, remove_mark
from keras_sac.tfmot._wrap_optimizer import pruning_optimizer, state_of, take_off


def strip_pruning(model: keras.Model) -> keras.Model:
    """Take masks, marks and the pruning optimizer off a model; its weights stay as they are.

    Nothing was wrapped, so the model itself is returned, not a copy. It stays compiled, with the
    optimizer that was inside the pruning optimizer; what is trained from then on does not stay
    sparse.

    Args:
        model: a model that was pruned, or loaded from the file of one.

    Returns:
        The model.

    Raises:
        ValueError: if it is no model, or if its layers were marked by `prune_low_magnitude` but
            nothing has pruned them.

    Examples:
        >>> from keras_sac.tfmot.sparsity.keras import ConstantSparsity, prune_low_magnitude
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> model = prune_low_magnitude(model, ConstantSparsity(0.5, begin_step=1))
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((4, 8)), np.ones((4, 4)), verbose=0)
        >>> model = strip_pruning(model)
        >>> type(model.optimizer).__name__, int(np.count_nonzero(model.get_weights()[0]))
        ('SGD', 16)
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`strip_pruning` needs a `keras.Model`. Received an object of type "
            f"{type(model).__module__}.{type(model).__name__}"
        )
    loop = state_of(model).loop
    if loop is not None:
        loop.apply()
    _check_pruned(model)
    take_off(model)
    for layer in all_layers(model):
        remove_mark(layer)
    return model


def _check_pruned(model: keras.Model) -> None:
    variables = [v for each in marked_layers(model) for v in each.variables]
    if not variables or any(np.any(keras.ops.convert_to_numpy(v) == 0) for v in variables):
        return
    pruner, loop = pruning_optimizer(model), state_of(model).loop
    steps = (pruner.pruning_step if pruner is not None else 0) + (loop.step if loop else 0)
    if not steps:
        raise ValueError(
            "The layers of this model were marked by `prune_low_magnitude`, but nothing has pruned "
            "them: none of their weights is zero. Train the model with the callback "
            "`UpdatePruningStep()`, or with the optimizer that it is compiled with."
        )
    warnings.warn(
        f"None of the weights of the pruned layers is zero after {steps} steps of training: no "
        "mask was due. Let the schedule begin earlier, or more often (`frequency`, by default "
        "100).",
        stacklevel=3,
    )
