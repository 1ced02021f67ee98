"""The callback that tfmot demands in `fit`."""

import warnings
from typing import Any

import keras

from keras_sac import pruning
from keras_sac.tfmot._custom_loop import Loop
from keras_sac.tfmot._marks import marked_layers
from keras_sac.tfmot._wrap_optimizer import (
    pruning_optimizer,
    put_around,
    state_of,
    variable_scope,
)


class UpdatePruningStep(keras.callbacks.Callback):
    """Prunes a model in which single layers were marked, and models in loops of one's own.

    After `prune_low_magnitude(model)` the optimizer that the model is compiled with does the
    pruning, and in `fit` this callback only makes sure that it does. Where layers were marked
    before their model existed, it puts a `keras_sac.pruning.PruningOptimizer` around the optimizer
    of the model when `fit` begins.

    In a loop of one's own, with any optimizer, call `set_model(model)` and `on_train_begin()` once,
    `on_train_batch_begin(batch)` before and `on_epoch_end(epoch)` after the batches, as with
    tfmot: the masks are then made and put on before each batch, by the weights that the model
    holds. A JAX loop that holds the weights outside the model has to use a `PruningOptimizer`.

    Raises:
        ValueError: in `fit`, if layers were marked after the model was compiled for pruning, or if
            there is nothing to prune in those that were.

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
        """Make sure that something prunes."""
        self._loop = None
        pruner = pruning_optimizer(self.model)
        marked = marked_layers(self.model)
        if not marked and pruner is None:
            warnings.warn(
                "`UpdatePruningStep` found nothing to prune: no layer of the model is marked, and "
                "its optimizer does not prune. `prune_low_magnitude` marks the layers that it is "
                "given, in place; what is cloned or loaded from them is not marked.",
                stacklevel=2,
            )
        elif pruner is not None:
            _check_current(pruner, self.model)
        # Only `fit` sets the parameters.
        elif self.params is None:
            state = state_of(self.model)
            self._loop = state.loop = state.loop or Loop(self.model)
        else:
            pruner = self._put_around()
        if pruner is not None and self.model.built:
            # So that the first batch meets what the schedule asks for at step 1.
            with variable_scope(self.model):
                pruner.build(self.model.trainable_variables)
        self._steps_before = 0 if pruner is None else pruner.pruning_step

    def on_train_batch_begin(self, batch: Any = None, logs: Any = None) -> None:
        """Refresh the masks, in a loop of one's own."""
        if self._loop is not None:
            self._loop.begin_batch()

    def on_epoch_end(self, epoch: Any = None, logs: Any = None, *, batch: Any = None) -> None:
        """Put the masks on, in a loop of one's own; `batch` is tfmot's name for `epoch`."""
        if self._loop is not None:
            self._loop.apply()
        pruner = pruning_optimizer(self.model)
        if pruner is None:
            return
        accumulates = getattr(pruner.inner_optimizer, "gradient_accumulation_steps", None)
        if pruner.pruning_step == self._steps_before and not accumulates:
            warnings.warn(
                "The optimizer of the model prunes, but made no update in this epoch: is the model "
                "trained with another one? Train it with `model.optimizer`; or, for a loop of your "
                "own, do not compile the model.",
                stacklevel=2,
            )
        self._steps_before = pruner.pruning_step

    def _put_around(self) -> pruning.PruningOptimizer:
        with variable_scope(self.model):
            pruner = put_around(self.model)
        self.model.make_train_function(force=True)
        return pruner


def _check_current(pruner: pruning.PruningOptimizer, model: keras.Model) -> None:
    if not pruner.built:
        return
    known = set(pruner.masks)
    new = [
        v.path
        for each in marked_layers(model)
        for v in each.variables
        if v.trainable and v.path not in known
    ]
    if new:
        raise ValueError(
            "`prune_low_magnitude` was called on layers after the model was compiled for pruning, "
            f"and they would not be pruned: {new}. Call `compile` again."
        )
