"""An L1 penalty on the kernels of a model that is built already."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._arguments import at_least_zero
from keras_sac._model import (
    Kernel,
    Selection,
    all_layers,
    as_list,
    kernels_of,
    select_kernels,
)
from keras_sac._table import table

if TYPE_CHECKING:
    import pandas as pd

# Where layers keep the regularizer of a variable, which is what a file is written from; those with
# an underscore make inner layers of it.
_ATTRIBUTES = {
    "kernel": ("kernel_regularizer", "_kernel_regularizer"),
    "embeddings": ("embeddings_regularizer",),
    "recurrent_kernel": ("recurrent_regularizer",),
    "pointwise_kernel": ("pointwise_regularizer",),
    "learner": ("learner_regularizer",),
}


def add_kernel_l1(model: keras.Model, strength: float, *, targets: Any = None) -> "pd.DataFrame":
    """Add an L1 penalty on kernels to the loss of a model that is built already.

    `loss <- loss + strength sum |w|`

    Setting `layer.kernel_regularizer` does nothing by then: Keras reads it when it makes the
    kernel. This counts from the next `fit` or `evaluate` on, whether the model was compiled before
    or not, and is in `model.losses`. What L1 and L2 there is stays; strengths add up.

    `model.save` keeps it as it keeps a `kernel_regularizer`: not where the code of a class makes
    the layers, in a subclassed model or a layer of other layers, unless they are made again from
    an argument of that name. There, and around a model that is part of another (which is to be
    compiled again), call it once more. Weights become small by it, but not zero; see `ProximalL1`.

    Args:
        model: built; changed in place.
        strength: of the penalty, at least 0.
        targets: which kernels: a layer or model (it stands for the layers inside it), a variable,
            the name of a layer, a regular expression searched for in `variable.path`, a callable
            from a variable to a boolean, or a list of those. By default all kernels: the variables
            `kernel`, `embeddings`, `recurrent_kernel`, `pointwise_kernel` and `learner` with two
            axes or more that are not of a depthwise convolution. A shared kernel counts once.

    Returns:
        One row for each kernel: `path`, `shape`, `weights`, `added` (whether it got the penalty)
        and `regularizer`, the one that it has now.

    Raises:
        ValueError: if the model is not built or has no kernel, the strength is out of range,
            `targets` match no kernel, or a kernel has another regularizer than `L1`, `L2` or
            `L1L2`; the model is then unchanged.

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
    chosen = _selected(model, kernels, targets)
    _check_regularizers(chosen)
    if strength:
        _add(model, chosen, strength)
        # They were traced with the losses of before.
        model.train_function = model.test_function = None
    added = {id(variable) for variable in chosen}
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


def _selected(model: keras.Model, kernels: Sequence[Kernel], targets: Any) -> list[keras.Variable]:
    if targets is None:
        return [kernel.variable for kernel in kernels]
    # Each target must select something; two may select the same kernel.
    selected: dict[int, keras.Variable] = {}
    for target in as_list(targets):
        found, _ = select_kernels(model.weights, [Selection(target)], [model], purpose="penalized")
        selected.update({kernel.index: kernel.variable for kernel, _ in found})
    return [selected[index] for index in sorted(selected)]


def _check_regularizers(chosen: Sequence[keras.Variable]) -> None:
    others = [
        f"{variable.path}: {_text(variable.regularizer)}"
        for variable in chosen
        if not _can_combine(variable.regularizer)
    ]
    if others:
        raise ValueError(
            "L1 can be added to the regularizers L1, L2 and L1L2 of Keras only. Received a model "
            f"with {'; '.join(others)}. The model was not changed. Select the other kernels "
            "by `targets=`, or add the penalty to that regularizer itself."
        )


def _add(model: keras.Model, chosen: Sequence[keras.Variable], strength: float) -> None:
    # One new regularizer for each old one, so that what was shared still is.
    old = {id(variable): variable.regularizer for variable in chosen}
    new = {id(regularizer): _combine(regularizer, strength) for regularizer in old.values()}
    for layer in all_layers(model):
        for attribute, variables in _governing(layer):
            before = getattr(layer, attribute)
            # A composite layer has one for the kernels of all layers inside it.
            if all(id(v) in old and old[id(v)] is before for v in variables):
                setattr(layer, attribute, new[id(before)])
    for variable in chosen:
        variable.regularizer = new[id(old[id(variable)])]


def _governing(layer: keras.layers.Layer) -> Iterator[tuple[str, list[keras.Variable]]]:
    """Go through the regularizers of a layer, with the variables that it made with them."""
    for name, attributes in _ATTRIBUTES.items():
        variables = [v for v in layer.variables if v.path.rsplit("/", 1)[-1] == name]
        for attribute in attributes:
            # That of a recurrent layer only shows the one of its cell.
            shown = isinstance(getattr(type(layer), attribute, None), property)
            if variables and not shown and hasattr(layer, attribute):
                yield attribute, variables


def _text(regularizer: Any) -> str:
    if regularizer is None:
        return ""
    if not _can_combine(regularizer):
        return getattr(regularizer, "__name__", type(regularizer).__name__)
    config = regularizer.get_config()
    return f"{type(regularizer).__name__}({', '.join(f'{k}={v:g}' for k, v in config.items())})"


def _can_combine(regularizer: Any) -> bool:
    """Return whether L1 can be added to a regularizer; `None` is none."""
    # Not their subclasses, which may do more.
    kinds = keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2
    return regularizer is None or type(regularizer) in kinds


def _combine(regularizer: Any, strength: float) -> Any:
    """Return a regularizer that penalises by `strength sum |w|` more than the given one.

    Args:
        regularizer: `None`, `L1`, `L2` or `L1L2`; it is not changed.
        strength: at least 0.
    """
    # `L1` keeps a tensor.
    l1 = float(getattr(regularizer, "l1", 0.0)) + strength
    l2 = float(getattr(regularizer, "l2", 0.0))
    return keras.regularizers.L1L2(l1, l2) if l2 else keras.regularizers.L1(l1)
