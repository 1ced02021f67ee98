"""Wrap the optimizer of a marked model in a `PruningOptimizer`, and unwrap it again."""

import contextlib
from typing import Any

import keras

from keras_sac import pruning
from keras_sac.pruning import pruning_optimizer
from keras_sac.tfmot._custom_loop import Loop
from keras_sac.tfmot._keras_patches import save_present_optimizer
from keras_sac.tfmot._marked_target import targets_of
from keras_sac.tfmot._marks import Mark, marked_layers

_STATE = "_pruning_state"


class State:
    """What is stored with a model. A plain object, so that Keras does not track its contents.

    Attributes:
        optimizer: the pruning optimizer that wrapped the optimizer of the model last.
        marks: the marks on the layers at that time.
        loop: prunes in a custom training loop.
    """

    def __init__(self):
        self.optimizer: pruning.PruningOptimizer | None = None
        self.marks: set[Mark] = set()
        self.loop: Loop | None = None


def state_of(model: keras.Model) -> State:
    """Return the state of a model."""
    if getattr(model, _STATE, None) is None:
        setattr(model, _STATE, State())
    return getattr(model, _STATE)


def variable_scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which to create variables for a model."""
    # Only models on TensorFlow have a strategy; by default it is that of one device.
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def wrap_optimizer(model: keras.Model) -> pruning.PruningOptimizer | None:
    """Wrap the optimizer of a compiled model with marked layers in a pruning optimizer.

    The new pruning optimizer continues at the step, and with the masks, of the last one.

    Returns:
        The pruning optimizer; `None` if the marked layers have no weights to prune.
    """
    targets = targets_of(model)
    if not targets:
        return None
    state = state_of(model)
    old, optimizer = state.optimizer, model.optimizer
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    new = pruning.PruningOptimizer(
        optimizer.inner_optimizer if scaled else optimizer,
        targets[0].schedule,
        targets=targets,
        # Callbacks are called between executions, which may be of several steps.
        refreshes="on_call" if model.steps_per_execution == 1 else "after_update",
    )
    if scaled:
        optimizer.inner_optimizer = new
    else:
        model.optimizer = new
    save_present_optimizer(model)
    state.optimizer, state.marks = new, {mark for _, mark in marked_layers(model)}
    if old is not None and old.built:
        new.build(model.trainable_variables)
        _copy_variables(old, new)
    return new


def unwrap_optimizer(model: keras.Model) -> None:
    """Replace the pruning optimizer of a model, if it has one, by the optimizer inside it."""
    pruner = pruning_optimizer(model)
    if pruner is None:
        return
    outer, holder = model.optimizer, model
    while outer is not pruner:
        outer, holder = outer.inner_optimizer, outer
    if holder is model:
        model.optimizer = pruner.inner_optimizer
    else:
        holder.inner_optimizer = pruner.inner_optimizer
    save_present_optimizer(model)
    # It was traced with the pruning optimizer.
    model.train_function = None


def forget_pruning(model: keras.Model) -> None:
    """Let the next training of a model begin at step 1 with new masks."""
    if state_of(model).optimizer is pruning_optimizer(model):
        unwrap_optimizer(model)
    setattr(model, _STATE, None)


def _copy_variables(old: pruning.PruningOptimizer, new: pruning.PruningOptimizer) -> None:
    known = {(v.name, tuple(v.shape)): v for v in _own_variables(old)}
    for variable in _own_variables(new):
        value = known.get((variable.name, tuple(variable.shape)))
        if value is not None:
            variable.assign(keras.ops.convert_to_numpy(value))


def _own_variables(optimizer: pruning.PruningOptimizer) -> list[keras.Variable]:
    inner = {id(variable) for variable in optimizer.inner_optimizer.variables}
    return [v for v in optimizer.variables if id(v) not in inner]
