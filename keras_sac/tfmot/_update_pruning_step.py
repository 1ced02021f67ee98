"""The callback `UpdatePruningStep`, which prunes a marked model while it is trained."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_sac import pruning
from keras_sac.tfmot._custom_loop import Loop
from keras_sac.tfmot._marks import MarkedLayer, marked_layers, pruned_variables
from keras_sac.tfmot._wrap_optimizer import (
    pruning_optimizer,
    state_of,
    variable_scope,
    wrap_optimizer,
)


class UpdatePruningStep(keras.callbacks.Callback):
    """Prune the layers marked by `prune_low_magnitude`, in `fit` and in custom training loops.

    When `fit` begins, the callback wraps the optimizer of the model in a
    `keras_sac.pruning.PruningOptimizer`, which makes and applies the masks in each step. Without
    the callback nothing is pruned. A model that is loaded with its pruning optimizer continues.

    In a custom loop with any optimizer, call `set_model(model)` and `on_train_begin()` once,
    `on_train_batch_begin(batch)` before each batch and `on_epoch_end(epoch)` after each epoch, as
    with tfmot. The callback then makes and applies the masks before each batch, from the weights in
    the model. A JAX loop that keeps the weights outside the model must use a `PruningOptimizer`.

    Raises:
        ValueError: in `fit`, if the marked layers have no weights to prune, if layers were marked
            after an earlier training, or if the model was compiled with a `PruningOptimizer`.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.tfmot.sparsity.keras import ConstantSparsity, prune_low_magnitude
        >>> layer = prune_low_magnitude(keras.layers.Dense(4), ConstantSparsity(0.75, 1))
        >>> model = keras.Sequential([keras.Input((8,)), layer])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((16, 8), "float32"), np.ones((16, 4), "float32")
        >>> history = model.fit(x, y, verbose=0, callbacks=[UpdatePruningStep()])
        >>> int(np.count_nonzero(layer.get_weights()[0]))
        8
    """

    def __init__(self):
        super().__init__()
        self._loop: Loop | None = None
        self._steps_before = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Wrap the optimizer of the model; in a custom loop, prepare the masks."""
        self._loop = None
        pruner = pruning_optimizer(self.model)
        marked = marked_layers(self.model)
        if marked and pruner is not None:
            _check_optimizer(pruner, self.model, marked)
        elif marked and self.params is None:
            # Only `fit` sets the parameters.
            state = state_of(self.model)
            self._loop = state.loop = state.loop or Loop(self.model)
        elif marked:
            with variable_scope(self.model):
                pruner = wrap_optimizer(self.model)
            self.model.make_train_function(force=True)
        elif pruner is None:
            warnings.warn(
                "`UpdatePruningStep` found nothing to prune: no layer of the model is marked, and "
                "the optimizer of the model does not prune. `prune_low_magnitude` marks layers in "
                "place; copies of them are not marked, neither cloned nor loaded.",
                stacklevel=2,
            )
        if pruner is not None and self.model.built:
            # The first batch must meet the masks that the schedule asks for at step 1.
            with variable_scope(self.model):
                pruner.build(self.model.trainable_variables)
        self._steps_before = 0 if pruner is None else pruner.pruning_step

    def on_train_batch_begin(self, batch: Any = None, logs: Any = None) -> None:
        """Refresh and apply the masks, in a custom loop."""
        if self._loop is not None:
            self._loop.begin_batch()

    def on_epoch_end(self, epoch: Any = None, logs: Any = None, *, batch: Any = None) -> None:
        """Apply the masks, in a custom loop. `batch` is the name that tfmot gives to `epoch`."""
        if self._loop is not None:
            self._loop.apply()
        pruner = pruning_optimizer(self.model)
        if pruner is None:
            return
        accumulates = getattr(pruner.inner_optimizer, "gradient_accumulation_steps", None)
        if pruner.pruning_step == self._steps_before and not accumulates:
            warnings.warn(
                "The pruning optimizer of the model made no update in this epoch, so nothing was "
                "pruned. Train the model with `model.optimizer`, or call `strip_pruning` and "
                "`prune_low_magnitude` before a loop with another optimizer.",
                stacklevel=2,
            )
        self._steps_before = pruner.pruning_step


def _check_optimizer(
    pruner: pruning.PruningOptimizer, model: keras.Model, marked: Sequence[MarkedLayer]
) -> None:
    state = state_of(model)
    if pruner is not state.optimizer:
        raise ValueError(
            "The model would be pruned twice: its layers are marked by `prune_low_magnitude`, and "
            "its optimizer is a `PruningOptimizer`. Compile the model with the optimizer inside "
            "that one, or call `strip_pruning` first."
        )
    new = [
        layer.name
        for layer, mark in marked
        if mark not in state.marks and any(v.trainable for v in pruned_variables(layer))
    ]
    if new:
        raise ValueError(
            "Layers must be marked before the optimizer is wrapped for pruning. Received layers "
            f"that were marked after an earlier training: {new}. Call `compile` again."
        )
