"""Marking what is to be pruned."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import all_layers
from keras_sac.tfmot._adapted_schedule import adapted
from keras_sac.tfmot._marks import (
    Mark,
    check,
    children,
    mark_of,
    marked_layers,
    put_mark,
    remove_mark,
)
from keras_sac.tfmot._wrap_optimizer import follow_compile


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Any = pruning.ConstantSparsity(0.5, 0),  # noqa: B008 never changes
    block_size: Sequence[int] = (1, 1),
    block_pooling_type: str = "AVG",
    pruning_policy: Any = None,
    sparsity_m_by_n: Sequence[int] | None = None,
    *,
    strict: bool = False,
    **kwargs: Any,
) -> Any:
    """Have a model, or some of its layers, pruned by magnitude while it is trained.

    Nothing is wrapped or copied: the layers are marked, in place. A model has to be compiled again;
    its optimizer then does the pruning, in `fit` and in any other loop that uses it. For layers
    that were marked one by one the callback `UpdatePruningStep` sees to that.

    Args:
        to_prune: a model (Sequential, Functional, subclassed, nested), a layer, or a list of
            layers. Layers that were marked before keep what they were marked with when their model
            is. Pruned are the kernels and embeddings, no biases, no scales of normalisations, no
            depthwise kernels; of a layer with a method `get_prunable_weights` what that returns.
        pruning_schedule: when masks are made, and how sparse: of this package, of tfmot itself,
            or any object with `__call__(step) -> (prune, sparsity)` and `get_config()`.
        block_size: `(rows, columns)` of blocks that are pruned together, for kernels of two axes.
        block_pooling_type: `"AVG"` or `"MAX"`: what blocks are compared by.
        pruning_policy: a `PruningPolicy`: which layers of a model, or of a list, are pruned.
        sparsity_m_by_n: `(n, m)` for n zeros in each m consecutive weights along the inputs, such
            as `(2, 4)`. The masks are refreshed when the schedule says so; one that begins at 0
            makes them before the first batch, as tfmot does.
        strict: raise, rather than warn, for layers of which it is not known what may be pruned.
        **kwargs: `input_shape`, for a layer that is the first of a `Sequential` model.

    Returns:
        `to_prune` itself; for a list a new list of the same layers.

    Raises:
        ValueError: if it is none of these, if the policy refuses the model, if a pattern does not
            fit a kernel, under `strict` for unknown layers.
        TypeError: for an unknown keyword.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.tfmot.sparsity.keras import PolynomialDecay, strip_pruning
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> schedule = PolynomialDecay(0.5, 0.75, begin_step=0, end_step=10, frequency=2)
        >>> model = prune_low_magnitude(model, pruning_schedule=schedule)
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((64, 8), "float32"), np.ones((64, 4), "float32")
        >>> history = model.fit(x, y, batch_size=4, verbose=0)
        >>> int(np.count_nonzero(strip_pruning(model).get_weights()[0]))
        8

    Reference:
        Zhu and Gupta, "To prune, or not to prune", 2017, https://arxiv.org/abs/1710.01878
    """
    pattern = _pattern(block_size, block_pooling_type, sparsity_m_by_n)
    mark = Mark(
        schedule=_schedule(pruning_schedule, pattern),
        pattern=pattern,
        policy=pruning_policy,
        strict=strict,
        of_model=isinstance(to_prune, keras.Model),
    )
    _apply_keywords(to_prune, kwargs)
    if isinstance(to_prune, keras.Model):
        _mark_model(to_prune, mark)
    elif isinstance(to_prune, keras.layers.Layer):
        _mark_layer(to_prune, mark)
    elif isinstance(to_prune, list | tuple):
        return [
            prune_low_magnitude(
                each,
                pruning_schedule,
                block_size,
                block_pooling_type,
                pruning_policy,
                sparsity_m_by_n,
                strict=strict,
            )
            if mark_of(each) is None
            else each
            for each in to_prune
        ]
    else:
        raise ValueError(
            "`prune_low_magnitude` needs a Keras model, a Keras layer or a list of layers. "
            f"Received an object of type {type(to_prune).__module__}.{type(to_prune).__name__}"
        )
    if all(layer.built for layer in all_layers(to_prune)):
        check([each for each in marked_layers(to_prune) if each.mark is mark])
    return to_prune


def _mark_model(model: keras.Model, mark: Mark) -> None:
    if mark.policy is not None:
        mark.policy.ensure_model_supports_pruning(model)
    # The model, for what it makes later; and each layer, for other models that are made of it.
    put_mark(model, mark)
    _mark_inside(model, mark)
    follow_compile(model)


def _mark_inside(model: keras.Model, mark: Mark) -> None:
    for layer in children(model):
        known = mark_of(layer)
        if known is not None and not known.of_model:
            continue
        if isinstance(layer, keras.Model):
            put_mark(layer, mark)
            _mark_inside(layer, mark)
        elif mark.policy is None or mark.policy.allow_pruning(layer):
            put_mark(layer, mark)
        else:
            remove_mark(layer)


def _mark_layer(layer: keras.layers.Layer, mark: Mark) -> None:
    if mark.policy is None or mark.policy.allow_pruning(layer):
        put_mark(layer, mark)


def _pattern(block_size: Any, pooling: str, sparsity_m_by_n: Any) -> pruning.Pattern:
    size = _pair("block_size", block_size)
    # Also says what is wrong with it.
    block = pruning.Block(size, pooling)
    if sparsity_m_by_n is None:
        return pruning.Unstructured() if size == (1, 1) else block
    if size != (1, 1):
        raise ValueError(
            "Weights are pruned in blocks, or n of each m, not both. Received: "
            f"block_size={block_size}, sparsity_m_by_n={sparsity_m_by_n}"
        )
    n_zeros, m = _pair("sparsity_m_by_n", sparsity_m_by_n)
    return pruning.NM(m=m, n_zeros=n_zeros)


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else ()
    integers = [int(e) for e in pair if isinstance(e, Integral) and not isinstance(e, bool)]
    if len(pair) != 2 or len(integers) != 2 or min(integers) < 1:
        raise ValueError(f"`{name}` must be two integers >= 1. Received: {name}={value!r}")
    return integers[0], integers[1]


def _schedule(schedule: Any, pattern: pruning.Pattern) -> pruning.PruningSchedule:
    schedule = adapted(schedule)
    known = isinstance(schedule, pruning.ConstantSparsity | pruning.PolynomialDecay)
    if not isinstance(pattern, pruning.NM) or not known or schedule.begin_step > 0:
        return schedule
    # tfmot makes n:m masks at step 1; there is no step 0, and the next may be far.
    later = {**schedule.get_config(), "begin_step": 1, "end_step": schedule.end_step or 1}
    return type(schedule).from_config(later)


def _apply_keywords(to_prune: Any, kwargs: dict[str, Any]) -> None:
    unknown = sorted(set(kwargs) - {"input_shape"})
    single = isinstance(to_prune, keras.layers.Layer) and not isinstance(to_prune, keras.Model)
    if unknown or (kwargs and not single):
        raise TypeError(
            "`prune_low_magnitude` takes one more keyword, `input_shape`, for a single layer. "
            f"Received: {sorted(kwargs)}"
        )
    if kwargs:
        # Where `Sequential` looks for what a layer was given as `input_shape`.
        to_prune._input_shape_arg = tuple(kwargs["input_shape"])
