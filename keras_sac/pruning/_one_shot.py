"""One-shot pruning: by masks, by threshold, by filter norm, or to a given sparsity."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sac._arguments import at_least_zero, fraction
from keras_sac._model import Kernel, check_model
from keras_sac.pruning import _sparsity_tables
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._distribution import masks_for
from keras_sac.pruning._identifiers import get_criterion, get_distribution, get_pattern
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._pruned_kernels import PrunedKernel, as_targets, select_pruned
from keras_sac.pruning._pruning_optimizer import required_pruning_optimizer

if TYPE_CHECKING:
    import pandas as pd


def apply_masks(model: keras.Model) -> "pd.DataFrame":
    """Set the weights to zero that the `PruningOptimizer` of a model has masked.

    `w <- m * w`

    Every update does this. Call it if weights were set since: by `load_weights`, or by
    `EarlyStopping(restore_best_weights=True)` with a best epoch that was less sparse. Such weights
    were not trained with these masks, so train on, or choose the best epoch among those after the
    end of the schedule.

    Args:
        model: a model that is compiled with a `PruningOptimizer`, alone or inside another
            optimizer; changed in place.

    Returns:
        The table `keras_sac.pruning.sparsity(model)` afterwards.

    Raises:
        ValueError: if the model is not compiled with a `PruningOptimizer`, or that is not built.

    Examples:
        >>> from keras_sac.pruning import ConstantSparsity, PruningOptimizer
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.compile(PruningOptimizer("sgd", ConstantSparsity(0.5, begin_step=1)), "mse")
        >>> history = model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
        >>> model.set_weights([np.ones((2, 2)), np.zeros(2)])
        >>> apply_masks(model).attrs["total"]["sparsity"]
        0.5
    """
    required_pruning_optimizer(model).apply_masks()
    return _sparsity_tables.sparsity(model)


def prune_by_threshold(
    model: keras.Model, threshold: float, *, targets: Any = None
) -> "pd.DataFrame":
    """Set all weights with a magnitude below a threshold to zero.

    `w <- w [|w| >= threshold]`

    Fine-tune with `PruningOptimizer(optimizer, schedule=None)` to keep the zeros.

    Args:
        model: a built model, changed in place.
        threshold: number >= 0.
        targets: the kernels to prune, as for `PruningOptimizer`. Defaults to all kernels.

    Returns:
        The table `sparsity(model)` after pruning.

    Raises:
        ValueError: if `threshold` is negative, a weight is NaN, or `targets` match nothing. The
            model is unchanged then.

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
    """Set all filters with a norm below a threshold to zero.

    `w_j <- w_j [||w_j|| >= threshold]`, where `w_j` are all weights into output channel `j`

    A kernel keeps its filter with the largest norm: without any it would block the signal. A
    warning names the kernels whose filters are all below the threshold.

    Args:
        model: a built model, changed in place. Biases are not changed.
        threshold: number >= 0, compared with `sum |w|` for `"l1"` and `sqrt(sum w^2)` for `"l2"`.
        norm: `"l1"` or `"l2"`.
        targets: the kernels to prune, as for `PruningOptimizer`. Defaults to all kernels.

    Returns:
        The table `filter_sparsity(model)` after pruning.

    Raises:
        ValueError: if an argument is out of range, a weight is NaN, or `targets` match nothing. The
            model is unchanged then.

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

    below = []

    def keep(kernel: Kernel, values: np.ndarray) -> np.ndarray:
        axes = tuple(a for a in range(values.ndim) if a != kernel.output_axis)
        powers = np.abs(values.astype("float64")) ** order
        norms = powers.sum(axis=axes, keepdims=True) ** (1.0 / order)
        if norms.max() >= threshold:
            return norms >= threshold
        below.append(f"{kernel.path} (largest norm {norms.max():.3g})")
        return np.arange(norms.size).reshape(norms.shape) == norms.argmax()

    _mask(model, targets, keep)
    if below:
        warnings.warn(
            f"All filters are below threshold={threshold} in: {', '.join(below)}. The one with the "
            "largest norm was kept. Choose a smaller `threshold`, or other kernels by `targets=`.",
            stacklevel=2,
        )
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
    """Prune a trained model to a given sparsity, in one shot.

    `w <- w [score >= k-th largest]`, `k = max(round(n (1 - sparsity)), 1)`

    Args:
        model: a built model, changed in place.
        sparsity: fraction of weights to set to zero, in [0, 1).
        targets: the kernels to prune, as for `PruningOptimizer`. Defaults to all kernels.
        criterion: `"magnitude"`, `"random"`, or a `Criterion` that needs no gradients.
        pattern: the sparsity pattern, as for `PruningOptimizer`.
        distribution: the distribution of the sparsity, as for `PruningOptimizer`.

    Returns:
        The table `keras_sac.pruning.sparsity(model)` after pruning.

    Raises:
        ValueError: if an argument is out of range, the criterion needs gradients, a weight is NaN,
            or `targets` match nothing. The model is unchanged then.

    Examples:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.set_weights([np.array([[0.1, 1.0], [-2.0, -0.2]]), np.zeros(2)])
        >>> table = prune_to_sparsity(model, 0.75)
        >>> model.get_weights()[0].tolist()
        [[0.0, 0.0], [-2.0, 0.0]]
    """
    target = fraction("sparsity", sparsity)
    scorer = get_criterion(criterion)
    if scorer.needs_gradients:
        raise ValueError(
            "`criterion` of one-shot pruning must need no gradients. Received: "
            f"criterion={type(scorer).__name__}. Train with `PruningOptimizer(..., "
            'criterion=...)`, or use criterion="magnitude".'
        )
    pruned = _pruned(model, targets, get_pattern(pattern))
    _values_without_nan(pruned)
    scores = []
    for each in pruned:
        shape, index = each.kernel.shape, each.kernel.index
        initial = {slot: scorer.initial_slot(slot, shape, index) for slot in scorer.slots}
        state = {
            slot: ops.zeros(scorer.slot_shape(slot, shape))
            if value is None
            else ops.convert_to_tensor(value)
            for slot, value in initial.items()
        }
        scores.append(scorer.scores(ops.stop_gradient(each.variable.value), state))
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
    values = _values_without_nan(pruned)
    _assign(pruned, [keep(p.kernel, v) for p, v in zip(pruned, values, strict=True)])


def _pruned(model: keras.Model, targets: Any, pattern: Pattern) -> list[PrunedKernel]:
    variables = check_model(model).weights
    return select_pruned(variables, as_targets(targets), None, pattern, [model])[0]


def _values_without_nan(pruned: list[PrunedKernel]) -> list[np.ndarray]:
    values = [np.asarray(ops.convert_to_numpy(each.variable)) for each in pruned]
    with_nan = [
        each.kernel.path
        for each, value in zip(pruned, values, strict=True)
        if np.isnan(value.astype("float32")).any()
    ]
    if with_nan:
        raise ValueError(
            "The kernels of `model` must not contain NaN. Received a model with NaN in: "
            f"{', '.join(with_nan)}. The model is unchanged. Load weights from before the training "
            "diverged."
        )
    return values


def _assign(pruned: list[PrunedKernel], masks: list[np.ndarray]) -> None:
    for each, mask in zip(pruned, masks, strict=True):
        values = np.asarray(ops.convert_to_numpy(each.variable))
        each.variable.assign(np.where(mask, values, np.zeros((), values.dtype)))
