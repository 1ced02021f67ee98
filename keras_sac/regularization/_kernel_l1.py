"""An L1 penalty on the kernels of a model that is built already."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras

from keras_sac._arguments import at_least_zero
from keras_sac._model import Kernel, check_model, kernels_of
from keras_sac._table import table
from keras_sac.regularization._combine import can_combine, combine

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


def add_kernel_l1(model: keras.Model, strength: float, layers: Any = None) -> "pd.DataFrame":
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
        layers: layers of the model, at any depth, their names, or a list of those; a layer stands
            for the layers inside it. By default all layers with a kernel: a variable `kernel`,
            `embeddings`, `recurrent_kernel`, `pointwise_kernel` or `learner` with two axes or more
            that is not of a depthwise convolution. A kernel that is shared counts once.

    Returns:
        One row for each kernel: `path`, `shape`, `weights`, `added` (whether it got the penalty)
        and `regularizer`, the one that it has now.

    Raises:
        ValueError: if the model is not built or has no kernel, the strength is out of range, one
            of `layers` is not in the model or has no kernel, or a kernel has another regularizer
            than `L1`, `L2` or `L1L2`; the model is then unchanged.

    Examples:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.5, -1.0], [2.0, 0.5]]), np.zeros(2)])
        >>> table = add_kernel_l1(model, 0.25)
        >>> table["added"].tolist(), float(keras.ops.convert_to_numpy(model.losses[0]))
        ([True], 1.0)
    """
    kernels = kernels_of(check_model(model))
    strength = at_least_zero("strength", strength)
    chosen = _chosen(model, kernels, layers)
    _check_regularizers(chosen)
    if strength:
        _add(model, chosen, strength)
        # They were traced with the losses of before.
        model.train_function = model.test_function = None
    added = {id(variable) for variable, _ in chosen}
    return table(
        [
            {
                "path": kernel.path,
                "shape": kernel.shape,
                "weights": kernel.size,
                "added": id(variable) in added,
                "regularizer": _text(variable.regularizer),
            }
            for variable, kernel in kernels
        ]
    )


Kernels = Sequence[tuple[keras.Variable, Kernel]]


def _chosen(model: keras.Model, kernels: Kernels, layers: Any) -> Kernels:
    if layers is None:
        return kernels
    wanted = list(layers) if isinstance(layers, list | tuple) else [layers]
    inside: set[int] = set()
    for each in wanted or [layers]:
        found = _named(model, each)
        own = {id(v) for layer in found for v in layer.variables}
        own &= {id(variable) for variable, _ in kernels}
        if not own:
            what = "has no kernel" if found else "is not in the model"
            raise ValueError(
                "`layers` must be layers with a kernel, their names, or a list of those. Received: "
                f"{each!r}, which {what}. The kernels of {model.name!r}: "
                + "; ".join(f"{kernel.path} {kernel.shape}" for _, kernel in kernels)
            )
        inside |= own
    return [(variable, kernel) for variable, kernel in kernels if id(variable) in inside]


def _named(model: keras.Model, wanted: Any) -> list[keras.layers.Layer]:
    return [
        layer
        for layer in _all_layers(model)
        if layer is wanted or (isinstance(wanted, str) and layer.name == wanted)
    ]


def _all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    # Keras has no public way to see the layers inside a composite layer.
    return model._flatten_layers()


def _check_regularizers(chosen: Kernels) -> None:
    others = [
        f"{kernel.path}: {_text(variable.regularizer)}"
        for variable, kernel in chosen
        if not can_combine(variable.regularizer)
    ]
    if others:
        raise ValueError(
            "L1 can be added to the regularizers L1, L2 and L1L2 of Keras only. Received a model "
            f"with {'; '.join(others)}. The model was not changed. Name the other layers by "
            "`layers`, or add the penalty to that regularizer itself."
        )


def _add(model: keras.Model, chosen: Kernels, strength: float) -> None:
    # One new regularizer for each old one, so that what was shared still is.
    old = {id(variable): variable.regularizer for variable, _ in chosen}
    new = {id(regularizer): combine(regularizer, strength) for regularizer in old.values()}
    for layer in _all_layers(model):
        for attribute, variables in _governing(layer):
            before = getattr(layer, attribute)
            # A composite layer has one for the kernels of all layers inside it.
            if all(id(v) in old and old[id(v)] is before for v in variables):
                setattr(layer, attribute, new[id(before)])
    for variable, _ in chosen:
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
    if not can_combine(regularizer):
        return getattr(regularizer, "__name__", type(regularizer).__name__)
    config = regularizer.get_config()
    return f"{type(regularizer).__name__}({', '.join(f'{k}={v:g}' for k, v in config.items())})"
