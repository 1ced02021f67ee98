"""The callback `UpdatePruningStep`, which prunes a marked model while it is trained."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras

from keras_sac import _backend, pruning
from keras_sac.pruning import pruning_optimizer
from keras_sac.tfmot._custom_loop import Loop
from keras_sac.tfmot._marks import MarkedLayer, marked_layers, pruned_variables
from keras_sac.tfmot._wrap_optimizer import state_of, variable_scope, wrap_optimizer


class UpdatePruningStep(keras.callbacks.Callback):
    """Prune the layers marked by `prune_low_magnitude`, in `fit` and in custom training loops.

    When `fit` begins, the callback wraps the optimizer of the model in a
    `keras_sac.pruning.PruningOptimizer`, which applies the masks in each step. The callback
    refreshes them before the batches at whose step the schedule says so, as in tfmot: after `t`
    batches the weights have the masks of step `t`. Without the callback nothing is pruned. A model
    that is loaded with its pruning optimizer continues.

    If a custom `train_step` uses other optimizers than `model.optimizer`, as for a GAN, the
    callback applies the masks itself after each batch.

    In a custom loop with any optimizer, call `set_model(model)` and `on_train_begin()` once,
    `on_train_batch_begin(batch)` before each batch and `on_epoch_end(epoch)` after each epoch, as
    with tfmot. The callback then makes and applies the masks before each batch, from the weights in
    the model. A JAX loop that keeps the weights outside the model must use a `PruningOptimizer`.

    Raises:
        ValueError: in `fit`, if layers were marked after an earlier training, or if the model was
            compiled with a `PruningOptimizer`.

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
        # The pruning optimizer of a model in `fit`.
        self._pruner: pruning.PruningOptimizer | None = None
        self._next_step: int | None = None
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
        if pruner is None and self._loop is None:
            warnings.warn(_NOTHING_TO_PRUNE, stacklevel=2)
        if pruner is not None and self.model.built:
            # The first batch must meet the masks that the schedule asks for at step 1.
            with variable_scope(self.model):
                pruner.build(self.model.trainable_variables)
                if pruner.refreshes == "on_call":
                    pruner.refresh()
        self._pruner = pruner
        self._steps_before = 0 if pruner is None else pruner.pruning_step
        counts = pruner is not None and _updates_in_each_batch(self.model, pruner)
        self._next_step = self._steps_before + 1 if counts else None

    def on_train_batch_begin(self, batch: Any = None, logs: Any = None) -> None:
        """Refresh the masks that are due for the batch."""
        if self._loop is not None:
            self._loop.begin_batch()
        pruner = self._pruner
        if pruner is None or pruner.refreshes != "on_call" or not pruner.built:
            return
        if self._next_step is None:
            _backend.sync_variables(self.model)
        # Most batches are not due, and need not wait for the device.
        step = self._next_step or pruner.pruning_step + 1
        if pruner.is_due(step):
            _backend.sync_variables(self.model)
            with variable_scope(self.model):
                pruner.refresh()

    def on_train_batch_end(self, batch: Any = None, logs: Any = None) -> None:
        """Apply the masks if the `train_step` of the model uses other optimizers."""
        pruner = self._pruner
        if pruner is None:
            return
        if not pruner.has_begun and self.params is not None:
            _backend.sync_variables(self.model)
            with variable_scope(self.model):
                pruner.build(self.model.trainable_variables)
                pruner.after_update(True, None)
        if self._next_step is not None:
            self._next_step += 1

    def on_test_begin(self, logs: Any = None) -> None:
        """Apply the masks, so that a model is validated as it is saved."""
        self._apply()

    def on_epoch_end(self, epoch: Any = None, logs: Any = None, *, batch: Any = None) -> None:
        """Apply the masks. `batch` is the name that tfmot gives to `epoch`."""
        self._apply()
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

    def _apply(self) -> None:
        if self._loop is not None:
            self._loop.apply()
        elif self._pruner is not None and self._pruner.built:
            with variable_scope(self.model):
                self._pruner.apply_masks()


_NOTHING_TO_PRUNE = (
    "`UpdatePruningStep` found nothing to prune: no layer of the model with weights to prune is "
    "marked, and the optimizer of the model does not prune. `prune_low_magnitude` marks layers in "
    "place; copies of them are not marked, neither cloned nor loaded."
)


def _updates_in_each_batch(model: keras.Model, pruner: pruning.PruningOptimizer) -> bool:
    """Return whether each batch is one step: nothing accumulates gradients or skips updates."""
    inner = pruner.inner_optimizer
    return (
        model.optimizer is pruner
        and not isinstance(inner, keras.optimizers.LossScaleOptimizer)
        and not inner.gradient_accumulation_steps
    )


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
