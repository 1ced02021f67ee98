"""Giving a built optimizer more variables, with what it remembers of those it has."""

from typing import Any

import keras
import numpy as np


def extended_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return the optimizer built for `variables`, with the state it has for those it knew.

    A built Keras optimizer takes no new variables; a new one of the same configuration does. Its
    variables are recognised by name and shape, in order where that is not unique.

    Args:
        optimizer: built, for some of the variables.
        variables: all that are trained from now on.

    Returns:
        A new optimizer; the given one is left as it is.

    Raises:
        ValueError: if a part of the state belongs to none of the variables.
    """
    # The name holds the path of the variable that a slot belongs to; the slot's own path depends
    # on the scope in which the optimizer was built.
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
            # A moving average (`use_ema`) begins where its variable is, not at zero.
            slot.assign(_copy(averages[slot.name]))
    lost = sorted(name for (name, _), values in state.items() if values)
    if lost:
        raise ValueError(
            f"The state of the optimizer {type(optimizer).__name__} could not be carried over to "
            f"the newly trained variables; left over: {lost}. Train in two calls of `fit`, with "
            "`unfreeze_basis()` and `compile` in between."
        )
    return extended


def _key(slot: keras.Variable) -> tuple[str, tuple[int, ...]]:
    return slot.name, tuple(slot.shape)


def _copy(variable: keras.Variable) -> np.ndarray:
    # Two variables on one buffer: JAX could not donate it to the step.
    return np.array(keras.ops.convert_to_numpy(variable))


def _carry_over_exclusions(old: Any, new: Any) -> None:
    # `exclude_from_weight_decay` is no part of the configuration, and has no public getter.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))
    if hasattr(old, "inner_optimizer"):
        _carry_over_exclusions(old.inner_optimizer, new.inner_optimizer)
