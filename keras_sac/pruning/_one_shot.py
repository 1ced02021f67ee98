"""One-shot pruning of a trained model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import at_least_zero
from keras_sac._model import Kernel, check_model
from keras_sac.pruning import _sparsity_tables
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._identifiers import get_criterion, get_distribution, get_pattern
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._pruned_kernels import PrunedKernel, as_targets, select_pruned
from keras_sac.pruning._schedules import ConstantSparsity

if TYPE_CHECKING:
    import pandas as pd


def prune_by_threshold(
    model: keras.Model, threshold: float, *, targets: Any = None
) -> "pd.DataFrame":
    """Set to zero what is smaller than a threshold.

    `w <- w [|w| >= threshold]`

    Fine-tune with `PruningOptimizer(optimizer, schedule=None)`: the zeros stay.

    Args:
        model: built; changed in place.
        threshold: at least 0.
        targets: as in `PruningOptimizer`; by default all kernels.

    Returns:
        `sparsity(model)` afterwards.

    Raises:
        ValueError: if the threshold is negative, a weight is NaN, or targets match nothing; the
            model is then unchanged.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.01, 1.0], [-2.0, -0.02]]), np.zeros(2)])
        >>> prune_by_threshold(model, 0.05).attrs["total"]["sparsity"]
        0.5
    """
    at_least_zero("threshold", threshold)
    _mask(model, targets, lambda kernel, values: np.abs(values) >= threshold)
    return _sparsity_tables.sparsity(model)


def prune_filters_by_norm(
    model: keras.Model, threshold: float, *, norm: str = "l1", targets: Any = None
) -> "pd.DataFrame":
    """Set to zero the filters whose norm is smaller than a threshold.

    `w_j <- w_j [||w_j|| >= threshold]`, `w_j` all weights into output channel `j`

    Args:
        model: built; changed in place. Biases stay.
        threshold: at least 0; of the sum `sum |w|` for `"l1"`, of `sqrt(sum w^2)` for `"l2"`.
        norm: `"l1"` or `"l2"`.
        targets: as in `PruningOptimizer`; by default all kernels.

    Returns:
        `filter_sparsity(model)` afterwards.

    Raises:
        ValueError: if an argument is out of range, a weight is NaN, or targets match nothing; the
            model is then unchanged.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.1, 1.0], [-0.2, -0.02]]), np.zeros(2)])
        >>> prune_filters_by_norm(model, 0.5).attrs["total"]["zero_filters"]
        1

    Reference:
        Li et al., "Pruning filters for efficient ConvNets", 2017, https://arxiv.org/abs/1608.08710
    """
    at_least_zero("threshold", threshold)
    if norm not in ("l1", "l2"):
        raise ValueError(f'`norm` must be "l1" or "l2". Received: norm={norm!r}')
    order = 1 if norm == "l1" else 2

    def keep(kernel: Kernel, values: np.ndarray) -> np.ndarray:
        axes = tuple(a for a in range(values.ndim) if a != kernel.output_axis)
        powers = np.abs(values.astype("float64")) ** order
        return powers.sum(axis=axes, keepdims=True) ** (1.0 / order) >= threshold

    _mask(model, targets, keep)
    return _sparsity_tables.filter_sparsity(model)


def prune_to_sparsity(
    model: keras.Model,
    sparsity: float,
    *,
    targets: Any = None,
    criterion: str | Criterion = "magnitude",
    pattern: str | Pattern | None = None,
    distribution: str = "uniform",
) -> "pd.DataFrame":
    """Prune a model once, to a given sparsity.

    `w <- w [score >= k-th largest]`, `k = max(round(n (1 - sparsity)), 1)`

    Args:
        model: built; changed in place.
        sparsity: share of weights that become zero, in [0, 1).
        targets: as in `PruningOptimizer`; by default all kernels.
        criterion: `"magnitude"`, `"random"`, or a `Criterion` that needs no gradients.
        pattern: as in `PruningOptimizer`.
        distribution: as in `PruningOptimizer`.

    Returns:
        `keras_sac.pruning.sparsity(model)` afterwards.

    Raises:
        ValueError: if an argument is out of range, the criterion needs gradients, a weight is NaN,
            or targets match nothing; the model is then unchanged.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.1, 1.0], [-2.0, -0.2]]), np.zeros(2)])
        >>> table = prune_to_sparsity(model, 0.75)
        >>> model.get_weights()[0].tolist()
        [[0.0, 0.0], [-2.0, 0.0]]
    """
    target = ConstantSparsity(sparsity, begin_step=1).target_sparsity
    rule = get_criterion(criterion)
    if rule.needs_gradients:
        raise ValueError(
            f"{type(rule).__name__} ranks by gradients, which a model pruned at once does not "
            "have. Train with `PruningOptimizer(..., criterion=...)`, or use "
            'criterion="magnitude".'
        )
    pruned = _pruned(model, targets, get_pattern(pattern))
    _check_finite(pruned)
    scores = []
    for each in pruned:
        shape, index = each.kernel.shape, each.kernel.index
        first = {slot: rule.initial_slot(slot, shape, index) for slot in rule.slots}
        state = {
            slot: ops.zeros(rule.slot_shape(slot, shape))
            if value is None
            else ops.convert_to_tensor(value)
            for slot, value in first.items()
        }
        scores.append(rule.scores(ops.stop_gradient(each.variable.value), state))
    keep = masks_for(
        scores,
        [each.kernel for each in pruned],
        [each.pattern for each in pruned],
        ops.convert_to_tensor(target, "float32"),
        get_distribution(distribution),
    )
    _assign(pruned, [np.asarray(ops.convert_to_numpy(mask)) for mask in keep])
    return _sparsity_tables.sparsity(model)


def _mask(
    model: keras.Model, targets: Any, keep: Callable[[Kernel, np.ndarray], np.ndarray]
) -> None:
    pruned = _pruned(model, targets, get_pattern(None))
    values = _check_finite(pruned)
    _assign(pruned, [keep(p.kernel, v) for p, v in zip(pruned, values, strict=True)])


def _pruned(model: keras.Model, targets: Any, pattern: Pattern) -> list[PrunedKernel]:
    variables = check_model(model).weights
    return select_pruned(variables, as_targets(targets), None, pattern, [model])[0]


def _check_finite(pruned: list[PrunedKernel]) -> list[np.ndarray]:
    values = [np.asarray(ops.convert_to_numpy(each.variable)) for each in pruned]
    bad = [
        each.kernel.path
        for each, value in zip(pruned, values, strict=True)
        if np.isnan(value.astype("float32")).any()
    ]
    if bad:
        raise ValueError(
            f"These kernels hold NaN, which has no magnitude: {bad}. The model was not changed. "
            "Load weights from before the training diverged."
        )
    return values


def _assign(pruned: list[PrunedKernel], masks: list[np.ndarray]) -> None:
    for each, mask in zip(pruned, masks, strict=True):
        values = np.asarray(ops.convert_to_numpy(each.variable))
        each.variable.assign(np.where(mask, values, np.zeros((), values.dtype)))
