"""Add an L1 penalty to the kernels of a model that is already built."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._arguments import at_least_zero
from keras_sac._model import (
    Selection,
    all_layers,
    as_list,
    kernels_of,
    select_kernels,
)
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd

# Layer attributes that hold the regularizer of a variable; `get_config` reads them. Layers that
# create inner layers from it use the name with an underscore.
_ATTRIBUTES = {
    "kernel": ("kernel_regularizer", "_kernel_regularizer"),
    "embeddings": ("embeddings_regularizer",),
    "recurrent_kernel": ("recurrent_regularizer",),
    "pointwise_kernel": ("pointwise_regularizer",),
    "learner": ("learner_regularizer",),
}


def add_kernel_l1(model: keras.Model, strength: float, *, targets: Any = None) -> "pd.DataFrame":
    """Add an L1 penalty on the kernels to the loss of a model that is already built.

    `loss <- loss + strength sum |w|`

    Setting `layer.kernel_regularizer` on a built layer has no effect, because Keras reads it when
    it creates the kernel. The penalty added here is part of `model.losses`, and applies from the
    next `fit` or `evaluate` on, even if the model is already compiled. Existing L1 and L2 penalties
    are kept; the strengths add up.

    `model.save` stores the penalty as it stores a `kernel_regularizer`. A subclassed model or
    composite layer that creates its layers in its own code loses the penalty, unless it passes on
    an argument of that name; call `add_kernel_l1` again after loading. If the model is part of
    another model, compile the outer model again.

    The penalty makes weights small, but not exactly zero. For exact zeros see `ProximalL1`.

    Args:
        model: a built model, changed in place.
        strength: strength of the penalty, a number >= 0.
        targets: the kernels to penalize: a layer or model (with all layers inside it), a variable,
            the name of a layer, a regular expression searched for in `variable.path`, a callable
            from a variable to a boolean, or a list of those. Defaults to all kernels: the variables
            named `kernel`, `embeddings`, `recurrent_kernel`, `pointwise_kernel` and `learner` with
            at least two axes, except depthwise kernels. A shared kernel is penalized once.

    Returns:
        A table with one row for each kernel and the columns `path`, `shape`, `weights`, `added`
        (whether the kernel got the penalty) and `regularizer` (its regularizer now).

    Raises:
        ValueError: if the model is not built or has no kernel, `strength` is out of range,
            `targets` match no kernel, or a kernel has a regularizer other than `L1`, `L2` and
            `L1L2`. The model is unchanged then.

    Examples:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.5, -1.0], [2.0, 0.5]]), np.zeros(2)])
        >>> table = add_kernel_l1(model, 0.25)
        >>> table["added"].tolist(), float(keras.ops.convert_to_numpy(model.losses[0]))
        ([True], 1.0)
    """
    kernels = kernels_of(model)
    strength = at_least_zero("strength", strength)
    selected = _selected(model, targets)
    _check_regularizers(selected)
    if strength:
        _add(model, selected, strength)
        # These functions were traced with the old losses.
        model.train_function = model.test_function = None
    added = {id(variable) for variable in selected}
    return table(
        [
            {
                "path": kernel.path,
                "shape": kernel.shape,
                "weights": kernel.size,
                "added": id(kernel.variable) in added,
                "regularizer": _text(kernel.variable.regularizer),
            }
            for kernel in kernels
        ]
    )


def _selected(model: keras.Model, targets: Any) -> list[keras.Variable]:
    # Each target must select a kernel. Two targets may select the same one.
    selected: dict[int, keras.Variable] = {}
    for target in [None] if targets is None else as_list(targets):
        selections = None if target is None else [Selection(target)]
        found, _ = select_kernels(model.weights, selections, [model], purpose="penalized")
        selected.update({kernel.index: kernel.variable for kernel, _ in found})
    return [selected[index] for index in sorted(selected)]


def _check_regularizers(selected: Sequence[keras.Variable]) -> None:
    others = [
        f"{variable.path}: {_text(variable.regularizer)}"
        for variable in selected
        if not _can_combine(variable.regularizer)
    ]
    if others:
        raise ValueError(
            "The kernels must have no regularizer, or L1, L2 or L1L2 of Keras. Received a model "
            f"with {'; '.join(others)}. The model is unchanged. Select others by `targets=`, "
            "or add the penalty to the code of that regularizer."
        )


def _add(model: keras.Model, selected: Sequence[keras.Variable], strength: float) -> None:
    # One new regularizer for each old one, so that shared regularizers remain shared.
    old = {id(variable): variable.regularizer for variable in selected}
    new = {id(regularizer): _combine(regularizer, strength) for regularizer in old.values()}
    for layer in all_layers(model):
        for attribute, variables in _regularizer_attributes(layer):
            before = getattr(layer, attribute)
            # A composite layer has one regularizer for the kernels of all layers inside it.
            if all(id(v) in old and old[id(v)] is before for v in variables):
                setattr(layer, attribute, new[id(before)])
    for variable in selected:
        variable.regularizer = new[id(old[id(variable)])]


def _regularizer_attributes(
    layer: keras.layers.Layer,
) -> Iterator[tuple[str, list[keras.Variable]]]:
    """Iterate over the regularizer attributes of a layer, with the variables they belong to."""
    for name, attributes in _ATTRIBUTES.items():
        variables = [v for v in layer.variables if v.path.rsplit("/", 1)[-1] == name]
        for attribute in attributes:
            # A recurrent layer has a read-only property for the regularizer of its cell.
            read_only = isinstance(getattr(type(layer), attribute, None), property)
            if variables and not read_only and hasattr(layer, attribute):
                yield attribute, variables


def _text(regularizer: Any) -> str:
    if regularizer is None:
        return ""
    if not _can_combine(regularizer):
        return getattr(regularizer, "__name__", type(regularizer).__name__)
    config = regularizer.get_config()
    return f"{type(regularizer).__name__}({', '.join(f'{k}={v:g}' for k, v in config.items())})"


def _can_combine(regularizer: Any) -> bool:
    """Return whether L1 can be added to a regularizer; `None` means no regularizer."""
    # Not their subclasses, which may compute another penalty.
    kinds = keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2
    return regularizer is None or type(regularizer) in kinds


def _combine(regularizer: Any, strength: float) -> Any:
    """Return a new regularizer that adds `strength sum |w|` to the penalty of the given one.

    Args:
        regularizer: `None`, `L1`, `L2` or `L1L2`; not changed.
        strength: number >= 0.
    """
    # `L1` stores its strength as a tensor.
    l1 = float(getattr(regularizer, "l1", 0.0)) + strength
    l2 = float(getattr(regularizer, "l2", 0.0))
    return keras.regularizers.L1L2(l1, l2) if l2 else keras.regularizers.L1(l1)
