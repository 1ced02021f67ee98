"""Distribute a sparsity over kernels (uniform, global or ERK) and compute their masks."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sac._model import Kernel
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._top_k import keep_top_k

DISTRIBUTIONS = ("uniform", "global", "erk")


def masks_for(
    scores: Sequence[Any],
    kernels: Sequence[Kernel],
    patterns: Sequence[Pattern],
    sparsity: Any,
    distribution: str,
) -> list[Any]:
    """Compute the masks of kernels that have the same schedule.

    Of `n` groups `k = max(round(n (1 - s)), 1)` are kept, computed in float32 as
    `tensorflow_model_optimization` does.

    Args:
        scores: one tensor of `kernel.shape` for each kernel. A weight whose score is NaN is pruned.
        kernels: descriptions of the kernels.
        patterns: the sparsity pattern of each kernel.
        sparsity: float32 scalar tensor in [0, 1).
        distribution: `"uniform"`, `"global"` or `"erk"`.

    Returns:
        One boolean tensor of `kernel.shape` for each kernel, true for the kept weights.
    """
    # -1 is never kept. Not `score >= 0`, which XLA takes for true if the score is a magnitude.
    ranked = [
        ops.where(ops.logical_or(ops.isnan(score), score < 0), -ops.ones_like(score), score)
        for score in map(_at_least_float32, scores)
    ]
    pooled = [p.pool(r, k) for p, r, k in zip(patterns, ranked, kernels, strict=True)]
    free = [i for i, pattern in enumerate(patterns) if pattern.fixed_sparsity is None]
    keep = [ops.greater_equal(pool, 0) for pool in pooled]
    keep_by_rank = _keep_by_rank(free, pooled, kernels, patterns, sparsity, distribution)
    for i, decision in zip(free, keep_by_rank, strict=True):
        keep[i] = decision
    return [
        ops.logical_and(p.spread(d, k), ops.greater_equal(r, 0))
        for p, d, k, r in zip(patterns, keep, kernels, ranked, strict=True)
    ]


def _keep_by_rank(
    free: list[int],
    pooled: Sequence[Any],
    kernels: Sequence[Kernel],
    patterns: Sequence[Pattern],
    sparsity: Any,
    distribution: str,
) -> list[Any]:
    scores = [pooled[i] for i in free]
    if not scores:
        return []
    if distribution == "global":
        weights = [patterns[i].group_size(kernels[i]) for i in free]
        total = sum(
            int(np.sum(np.broadcast_to(w, s.shape))) for s, w in zip(scores, weights, strict=True)
        )
        chosen = keep_top_k(scores, _budget(total, sparsity), weights)
        # Each kernel keeps its largest group: a kernel of zeros would block the signal.
        return [
            ops.logical_or(c, ops.logical_and(ops.equal(s, ops.max(s)), ops.greater(s, 0)))
            for c, s in zip(chosen, scores, strict=True)
        ]
    if distribution == "erk":
        densities = erk_densities([kernels[i].shape for i in free], 1.0 - sparsity)
        sparsities = [1.0 - density for density in densities]
    else:
        sparsities = [sparsity] * len(scores)
    return [
        keep_top_k([score], _budget(_count(score), each))[0]
        for score, each in zip(scores, sparsities, strict=True)
    ]


def erk_densities(shapes: Sequence[tuple[int, ...]], density: Any) -> list[Any]:
    """Return the densities of the Erdős-Rényi kernel (ERK) rule.

    `density_l = min(1, eps sum(shape_l) / prod(shape_l))`, with `eps` such that all kernels
    together have the given density.

    Args:
        shapes: shapes of the kernels.
        density: density of all kernels together, in (0, 1]; float scalar tensor.

    Returns:
        One float scalar tensor for each kernel.

    Reference:
        Evci et al., "Rigging the lottery", 2020, https://arxiv.org/abs/1911.11134
    """
    sizes = np.array([np.prod(shape, dtype=np.float64) for shape in shapes])
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    order = np.argsort(-raw, kind="stable")
    # If the j kernels with the largest `raw` are dense, eps follows from the others. The right j
    # is the first for which no other density exceeds 1.
    dense = np.concatenate([[0.0], np.cumsum(sizes[order])[:-1]])
    rest = np.cumsum((raw * sizes)[order][::-1])[::-1]
    total = sizes.sum()

    def tensor(values: np.ndarray) -> Any:
        return ops.convert_to_tensor(values.astype("float32"))

    epsilons = (density - tensor(dense / total)) / tensor(rest / total)
    fits = ops.less_equal(epsilons * tensor(raw[order]), 1.0)
    # At a density of 1, rounding may leave no j that fits. All kernels are dense then.
    epsilon = ops.where(
        ops.any(fits),
        ops.take(epsilons, ops.argmax(ops.cast(fits, "int32"))),
        ops.convert_to_tensor(float(1.0 / raw.min()), "float32"),
    )
    return [ops.minimum(epsilon * float(r), 1.0) for r in raw]


def _budget(n: int, sparsity: Any) -> Any:
    size = ops.convert_to_tensor(float(n), "float32")
    k = ops.maximum(ops.round(size * (1.0 - sparsity)), 1.0)
    # float32 may round a large n up.
    return ops.minimum(ops.cast(k, "int32"), n)


def _at_least_float32(scores: Any) -> Any:
    # Sums and squares of float16 scores may overflow or underflow.
    wide = keras.backend.standardize_dtype(scores.dtype) == "float64"
    return scores if wide else ops.cast(scores, "float32")


def _count(tensor: Any) -> int:
    return int(np.prod([int(extent) for extent in tensor.shape], dtype=np.int64))
