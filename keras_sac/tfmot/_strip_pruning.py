"""`strip_pruning`: remove the pruning from a model and keep its sparse weights."""

import warnings

import keras
import numpy as np

from keras_sac._model import all_layers
from keras_sac.pruning import pruning_optimizer
from keras_sac.tfmot._marks import marked_layers, pruned_variables, remove_mark
from keras_sac.tfmot._wrap_optimizer import forget_pruning, state_of, unwrap_optimizer


def strip_pruning(model: keras.Model) -> keras.Model:
    """Remove masks, marks and the pruning optimizer from a model; its weights stay as they are.

    No layer was wrapped, so the model itself is returned, not a copy. It stays compiled with the
    optimizer that was inside the pruning optimizer. Training it further does not keep its zeros.

    A warning says if the model was trained and its layers were marked by `prune_low_magnitude`, but
    nothing has pruned them.

    Args:
        model: a pruned model, also one that was loaded from a file, or that is not trained yet.

    Returns:
        The same model.

    Raises:
        ValueError: if `model` is not a Keras model.

    Examples:
        >>> from keras_sac.tfmot.sparsity import keras as sparsity
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> schedule = sparsity.ConstantSparsity(0.5, begin_step=1)
        >>> model = sparsity.prune_low_magnitude(model, schedule)
        >>> model.compile("sgd", "mse")
        >>> callbacks = [sparsity.UpdatePruningStep()]
        >>> history = model.fit(np.ones((4, 8)), np.ones((4, 4)), verbose=0, callbacks=callbacks)
        >>> model = strip_pruning(model)
        >>> type(model.optimizer).__name__, int(np.count_nonzero(model.get_weights()[0]))
        ('SGD', 16)
    """
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a `keras.Model`. Received: an object of type "
            f"{type(model).__module__}.{type(model).__name__}"
        )
    loop = state_of(model).loop
    if loop is not None:
        loop.apply()
    _warn_unless_pruned(model)
    unwrap_optimizer(model)
    forget_pruning(model)
    for layer in all_layers(model):
        remove_mark(layer)
    return model


def _warn_unless_pruned(model: keras.Model) -> None:
    found = [v for layer, _ in marked_layers(model) for v in pruned_variables(layer)]
    variables = [variable for variable in found if variable.trainable]
    if not variables or any(np.any(keras.ops.convert_to_numpy(v) == 0) for v in variables):
        return
    loop, optimizer = state_of(model).loop, getattr(model, "optimizer", None)
    if loop is not None:
        reason = (
            f"after {loop.step} steps of training: the schedule asked for no mask. Let it begin "
            "earlier (`begin_step`), or refresh masks more often (`frequency`, 100 by default)."
        )
    elif _has_updated(optimizer) and pruning_optimizer(model) is None:
        reason = (
            "though the model was trained after `prune_low_magnitude`. Train it with the callback "
            "`UpdatePruningStep()`."
        )
    else:
        # It is not trained yet, or `fit` has warned.
        return
    warnings.warn(f"No weight of the marked layers is zero {reason}", stacklevel=3)


def _has_updated(optimizer: keras.optimizers.Optimizer | None) -> bool:
    return optimizer is not None and int(keras.ops.convert_to_numpy(optimizer.iterations)) > 0
