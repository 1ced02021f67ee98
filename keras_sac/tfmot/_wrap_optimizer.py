"""Putting a pruning optimizer around the optimizer of a marked model, and taking it off."""

import contextlib
import types
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._optimizer import portable_config
from keras_sac.tfmot._custom_loop import Loop
from keras_sac.tfmot._marked_target import targets_of

_STATE = "_pruning_state"


class State:
    """What is kept with a model. An object of its own, so that Keras does not track what it holds.

    Attributes:
        optimizer: the pruning optimizer that was put around the one of the model last.
        loop: what prunes in a loop without pruning optimizer.
    """

    def __init__(self):
        self.optimizer: pruning.PruningOptimizer | None = None
        self.loop: Loop | None = None


def state_of(model: keras.Model) -> State:
    """Return the state of a model."""
    if getattr(model, _STATE, None) is None:
        setattr(model, _STATE, State())
    return getattr(model, _STATE)


def pruning_optimizer(model: keras.Model) -> pruning.PruningOptimizer | None:
    """Return the pruning optimizer of a model, also from inside a `LossScaleOptimizer`."""
    optimizer = getattr(model, "optimizer", None)
    while optimizer is not None and not isinstance(optimizer, pruning.PruningOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def variable_scope(model: keras.Model) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which variables for a model are made."""
    # Only TensorFlow's models have a strategy; where none was chosen it is that of one device.
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def follow_compile(model: keras.Model) -> None:
    """From now on put a pruning optimizer around the optimizer that the model is compiled with."""
    forget(model)
    model.compiled = False
    model.compile = types.MethodType(_compile, model)


def put_around(model: keras.Model) -> pruning.PruningOptimizer:
    """Put a pruning optimizer around the optimizer of a compiled model with marks.

    It goes on at the step, and with the masks, of the one that was put around the last.

    Raises:
        ValueError: if the marked layers have no weights to prune.
    """
    targets = targets_of(model)
    state, old = state_of(model), state_of(model).optimizer
    optimizer = model.optimizer
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    new = pruning.PruningOptimizer(
        optimizer.inner_optimizer if scaled else optimizer, targets[0].schedule, targets=targets
    )
    if scaled:
        optimizer.inner_optimizer = new
    else:
        model.optimizer = new
    # What is saved must be the optimizer as it is, not the one that `compile` was given.
    model.get_compile_config = types.MethodType(_compile_config, model)
    state.optimizer = new
    if old is not None and old.built:
        new.build(model.trainable_variables)
        _carry_over(old, new)
    return new


def take_off(model: keras.Model) -> None:
    """Leave the model with the optimizer inside the pruning optimizer, if it has one."""
    pruner = pruning_optimizer(model)
    if pruner is not None:
        outer, holder = model.optimizer, model
        while outer is not pruner:
            outer, holder = outer.inner_optimizer, outer
        if holder is model:
            model.optimizer = pruner.inner_optimizer
        else:
            holder.inner_optimizer = pruner.inner_optimizer
        model.get_compile_config = types.MethodType(_compile_config, model)
        # It was traced with the pruning inside.
        model.train_function = None
    forget(model)


def forget(model: keras.Model) -> None:
    """Drop what was kept with the model."""
    setattr(model, _STATE, None)
    if "compile" in model.__dict__:
        del model.compile


def _compile(model: keras.Model, *args: Any, **kwargs: Any) -> None:
    # After it, not before: of what a model of one's own calls its arguments nothing is known.
    type(model).compile(model, *args, **kwargs)
    pruner = pruning_optimizer(model)
    if pruner is not None and pruner is state_of(model).optimizer:
        # `compile(model.optimizer, another_loss)`
        return
    if pruner is not None:
        raise ValueError(
            "The model would be pruned twice: `prune_low_magnitude` was called on it, and "
            "`compile` received a `PruningOptimizer`. Pass the optimizer inside it, or call "
            "`strip_pruning` first."
        )
    if getattr(model, "optimizer", None) is not None:
        put_around(model)


def _compile_config(model: keras.Model) -> dict[str, Any]:
    config = type(model).get_compile_config(model)
    if not config:
        return config
    return {**config, "optimizer": portable_config(model.optimizer)}


def _carry_over(old: pruning.PruningOptimizer, new: pruning.PruningOptimizer) -> None:
    known = {(v.name, tuple(v.shape)): v for v in _own(old)}
    for variable in _own(new):
        value = known.get((variable.name, tuple(variable.shape)))
        if value is not None:
            variable.assign(keras.ops.convert_to_numpy(value))


def _own(optimizer: pruning.PruningOptimizer) -> list[keras.Variable]:
    inner = {id(variable) for variable in optimizer.inner_optimizer.variables}
    return [v for v in optimizer.variables if id(v) not in inner]
