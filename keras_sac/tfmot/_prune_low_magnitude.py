"""`prune_low_magnitude`: mark a model, a layer or a list of layers for pruning."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras

from keras_sac import pruning
from keras_sac._model import all_layers, inner_layers
from keras_sac.tfmot._adapted_schedule import adapted
from keras_sac.tfmot._keras_patches import set_input_shape, undo_compile
from keras_sac.tfmot._marks import (
    Mark,
    check_marks,
    mark_of,
    marked_layers,
    remove_mark,
    set_mark,
)
from keras_sac.tfmot._wrap_optimizer import forget_pruning


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
    """Mark a model or some of its layers to be pruned by magnitude while it is trained.

    The layers are marked in place; nothing is wrapped or copied. `fit` with the callback
    `UpdatePruningStep` then prunes them. Without the callback they are not pruned. A model must be
    compiled afterwards, also one that was compiled before: its optimizer is removed.

    Args:
        to_prune: a model (Sequential, Functional, subclassed or nested), a layer, or a list of
            layers. A model that was pruned before starts again at step 1. Its layers that were
            marked one by one keep their own schedules and patterns. Pruned are kernels and
            embeddings; biases, scales of normalizations and depthwise kernels are never pruned. A
            layer with a method `get_prunable_weights` names its variables to prune.
        pruning_schedule: when masks are refreshed, and how sparse they are: a schedule of this
            package or of tfmot itself, or any object with `__call__(step) -> (prune, sparsity)`
            and `get_config()`. Defaults to a sparsity of 0.5 from step 0 on.
        block_size: `(rows, columns)` of the blocks that are pruned together, two integers >= 1;
            for kernels with two axes.
        block_pooling_type: `"AVG"` or `"MAX"`: how the magnitude of a block is computed.
        pruning_policy: a `PruningPolicy` that selects the layers of a model, or of a list.
        sparsity_m_by_n: `(n, m)` for n zeros in each m consecutive weights along the inputs, such
            as `(2, 4)`. The masks are refreshed when the schedule says so. A schedule that begins
            at step 0 makes the masks before the first batch, as tfmot does.
        strict: whether to raise an error, not a warning, for layers with unknown weights.
        **kwargs: `input_shape`, for a layer that is the first of a `Sequential` model.

    Returns:
        `to_prune` itself; for a list, a new list of the same layers.

    Raises:
        ValueError: if `to_prune` or another argument is invalid, if the policy rejects the model,
            if a pattern does not fit a kernel, or, if `strict`, for layers with unknown weights.
        TypeError: for an unknown keyword.

    Examples:
        >>> import numpy as np
        >>> from keras_sac.tfmot.sparsity import keras as sparsity
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> schedule = sparsity.PolynomialDecay(0.5, 0.75, begin_step=0, end_step=10, frequency=2)
        >>> model = prune_low_magnitude(model, pruning_schedule=schedule)
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((64, 8), "float32"), np.ones((64, 4), "float32")
        >>> callbacks = [sparsity.UpdatePruningStep()]
        >>> history = model.fit(x, y, batch_size=4, verbose=0, callbacks=callbacks)
        >>> int(np.count_nonzero(sparsity.strip_pruning(model).get_weights()[0]))
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
            "`to_prune` must be a Keras model, a Keras layer or a list of layers. Received: an "
            f"object of type {type(to_prune).__module__}.{type(to_prune).__name__}"
        )
    if all(layer.built for layer in all_layers(to_prune)):
        check_marks([each for each in marked_layers(to_prune) if each[1] is mark])
    return to_prune


def _mark_model(model: keras.Model, mark: Mark) -> None:
    if mark.policy is not None:
        mark.policy.ensure_model_supports_pruning(model)
    # The model, for layers that it creates later; and each layer, for other models made of it.
    set_mark(model, mark)
    _mark_inside(model, mark)
    forget_pruning(model)
    undo_compile(model)


def _mark_inside(model: keras.Model, mark: Mark) -> None:
    for layer in inner_layers(model):
        known = mark_of(layer)
        if known is not None and not known.of_model:
            continue
        if isinstance(layer, keras.Model):
            set_mark(layer, mark)
            _mark_inside(layer, mark)
        elif mark.policy is None or mark.policy.allow_pruning(layer):
            set_mark(layer, mark)
        else:
            remove_mark(layer)


def _mark_layer(layer: keras.layers.Layer, mark: Mark) -> None:
    if mark.policy is None or mark.policy.allow_pruning(layer):
        set_mark(layer, mark)


def _pattern(block_size: Any, pooling: str, sparsity_m_by_n: Any) -> pruning.Pattern:
    size = _pair("block_size", block_size)
    # Raises for an invalid size or pooling.
    block = pruning.Block(size, pooling)
    if sparsity_m_by_n is None:
        return pruning.Unstructured() if size == (1, 1) else block
    if size != (1, 1):
        raise ValueError(
            "`block_size` and `sparsity_m_by_n` cannot be combined. Received: "
            f"block_size={block_size}, sparsity_m_by_n={sparsity_m_by_n}. Leave one of them out."
        )
    n_zeros, m = _pair("sparsity_m_by_n", sparsity_m_by_n)
    if n_zeros >= m:
        raise ValueError(
            "`sparsity_m_by_n` must be (n, m) with 1 <= n < m: n of m weights become zero. "
            f"Received: sparsity_m_by_n={sparsity_m_by_n!r}"
        )
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
    # tfmot makes N:M masks at step 1. There is no step 0, and the next refresh may be far away.
    later = {**schedule.get_config(), "begin_step": 1, "end_step": schedule.end_step or 1}
    return type(schedule).from_config(later)


def _apply_keywords(to_prune: Any, kwargs: dict[str, Any]) -> None:
    unknown = sorted(set(kwargs) - {"input_shape"})
    single = isinstance(to_prune, keras.layers.Layer) and not isinstance(to_prune, keras.Model)
    if unknown or (kwargs and not single):
        raise TypeError(
            "The only further keyword of `prune_low_magnitude` is `input_shape`, for a single "
            f"layer. Received: {sorted(kwargs)}"
        )
    if kwargs:
        set_input_shape(to_prune, kwargs["input_shape"])
