"""Add variables to a built optimizer, and keep its state of the variables that it has."""

from typing import Any

import keras
import numpy as np


def extended_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return an optimizer built for `variables`, with the state of a built one.

    A built Keras optimizer takes no new variables, so this makes a new optimizer of the same
    configuration. Its slots get the old values by name and shape, in order if these are ambiguous.

    Args:
        optimizer: built for some of the variables. It is not changed.
        variables: all variables that are trained from now on.

    Returns:
        The new optimizer.

    Raises:
        ValueError: if a part of the state belongs to none of the variables.
    """
    # By name, which holds the path of the slot's variable: the path of the slot itself depends on
    # the scope in which the optimizer was built.
    state: dict[tuple[str, tuple[int, ...]], list[Any]] = {}
    for slot in optimizer.variables:
        state.setdefault(_key(slot), []).append(_copy(slot))
    extended = type(optimizer).from_config(optimizer.get_config())
    _carry_over_exclusions(optimizer, extended)
    extended.build(variables)
    averages = {f"{v.path.replace('/', '_')}_average": v for v in variables}
    for slot in extended.variables:
        known = state.get(_key(slot))
        if known:
            slot.assign(known.pop(0))
        elif slot.name in averages:
            # A moving average (`use_ema`) starts from the value of its variable, not from zero.
            slot.assign(_copy(averages[slot.name]))
    lost = sorted(name for (name, _), values in state.items() if values)
    if lost:
        raise ValueError(
            f"The state of the optimizer {type(optimizer).__name__} could not be carried over: no "
            f"variable fits {lost}. Train in two calls of `fit`, with `unfreeze_basis()` and "
            "`compile` in between."
        )
    return extended


def _key(slot: keras.Variable) -> tuple[str, tuple[int, ...]]:
    return slot.name, tuple(slot.shape)


def _copy(variable: keras.Variable) -> np.ndarray:
    # A copy, because JAX cannot donate a buffer that two variables hold.
    return np.array(keras.ops.convert_to_numpy(variable))


def _carry_over_exclusions(old: Any, new: Any) -> None:
    # `exclude_from_weight_decay` is not in the configuration and has no public getter.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
    if hasattr(old, "inner_optimizer"):
        _carry_over_exclusions(old.inner_optimizer, new.inner_optimizer)
