"""NumPy reference for pruning: sorts and loops where the library counts and reshapes."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model import Kernel

# JAX has no 64 bits unless it is told to.
_WIDE = keras.backend.backend() != "jax"
FLOATS = ["float16", "bfloat16", "float32"] + ["float64"] * _WIDE
INTEGERS = ["int32"] + ["int64"] * _WIDE


def numpy(tensor: Any) -> np.ndarray:
    """Return a tensor as an array that NumPy can calculate with."""
    array = keras.ops.convert_to_numpy(tensor)
    return array if array.dtype.kind in "biuf" else array.astype("float32")


def tensor(array: Any, dtype: str | None = None) -> Any:
    return keras.ops.convert_to_tensor(array, dtype=dtype)


def kernel(shape: Sequence[int], output_axis: int = -1, input_axis: int = -2) -> Kernel:
    """Describe a kernel of `shape`, as of a layer whose axes are known."""
    rank = len(shape)
    variable = keras.Variable(np.zeros(shape, "float32"), name="kernel")
    return Kernel(
        variable,
        *(0, "layer/kernel", tuple(shape), output_axis % rank, input_axis % rank, None, False),
    )


def compilers() -> list[Any]:
    """Return what turns a function into a compiled one on the backend at hand."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [tf.function, lambda function: tf.function(function, jit_compile=True)]
    if backend == "jax":
        import jax

        return [jax.jit]
    return [_dynamo]


def _dynamo(function: Callable[..., Any]) -> Callable[..., Any]:
    """Trace a function as `torch.compile` does, without the minutes of generating code for it."""
    import torch

    def quietly(*arguments: Any) -> Any:
        with warnings.catch_warnings():
            # Keras caches how types combine.
            warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")
            return torch.compile(function, backend="eager")(*arguments)

    return quietly


def quick(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on JAX, which else compiles each operation of it for each shape."""
    return compilers()[0](function) if keras.backend.backend() == "jax" else function


def budget(n: int, sparsity: float) -> int:
    """`max(round(n (1 - s)), 1)`, half to even, in float32."""
    product = np.float32(n) * (np.float32(1) - np.float32(sparsity))
    return int(max(np.rint(product), 1))


def kept(scores: np.ndarray, k: int) -> np.ndarray:
    """Mark the `k` largest and what ties with them; never NaN."""
    valid = scores[scores >= 0]
    if k >= valid.size:
        return scores >= 0
    threshold = np.partition(valid, valid.size - k)[valid.size - k]
    return scores >= threshold


def kept_weighted(scores: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """Mark the largest scores until what they stand for is `k`, and what ties with the last."""
    held = 0
    threshold = 0.0
    for i in np.argsort(-scores, kind="stable"):
        held, threshold = held + weights[i], scores[i]
        if held >= k:
            break
    return scores >= threshold


def blocks(shape: Sequence[int], size: Sequence[int]) -> list[tuple[slice, ...]]:
    """List the blocks of a kernel, those at the far end cut off."""
    return [
        tuple(slice(s, s + e) for s, e in zip(start, size, strict=True))
        for start in itertools.product(
            *(range(0, extent, e) for extent, e in zip(shape, size, strict=True))
        )
    ]


def filters(shape: Sequence[int], output_axis: int) -> list[tuple[Any, ...]]:
    """List the filters of a kernel."""
    whole = [slice(None)] * len(shape)
    return [(*whole[:output_axis], j, *whole[output_axis + 1 :]) for j in range(shape[output_axis])]


def grouped_mask(
    scores: np.ndarray,
    groups: list[tuple[Any, ...]],
    pool: Callable[[np.ndarray], float],
    sparsity: float,
) -> np.ndarray:
    """Return the mask of a pattern of groups, each with one score."""
    pooled = np.array([pool(scores[group].astype("float64")) for group in groups], "float32")
    mask = np.zeros(scores.shape, bool)
    for group, stays in zip(groups, kept(pooled, budget(len(groups), sparsity)), strict=True):
        mask[group] = stays
    return mask


def nm_mask(scores: np.ndarray, n_zeros: int, m: int, axis: int) -> np.ndarray:
    """Return the n:m mask: of each group what a stable sort puts first; the last may be smaller."""
    lines = np.moveaxis(scores, axis, -1)
    mask = np.zeros(lines.shape, bool)
    for place in np.ndindex(*lines.shape[:-1]):
        for start in range(0, lines.shape[-1], m):
            line = lines[place][start : start + m]
            for j in np.argsort(-line, kind="stable")[: m - n_zeros]:
                mask[(*place, start + int(j))] = True
    return np.moveaxis(mask, -1, axis)


def erk(shapes: Sequence[tuple[int, ...]], density: float) -> list[float]:
    """Return the densities of the ERK rule: saturated kernels are set aside, one at a time."""
    sizes = [float(np.prod(shape)) for shape in shapes]
    dense: set[int] = set()
    while True:
        free = [i for i in range(len(shapes)) if i not in dense]
        if not free:
            return [1.0] * len(shapes)
        wanted = density * sum(sizes) - sum(sizes[i] for i in dense)
        epsilon = wanted / sum(sum(shapes[i]) for i in free)
        densities = {i: epsilon * sum(shapes[i]) / sizes[i] for i in free}
        largest = max(free, key=lambda i: densities[i])
        if densities[largest] <= 1.0 + 1e-12:
            return [1.0 if i in dense else min(densities[i], 1.0) for i in range(len(shapes))]
        dense.add(largest)


def quadratic_optimum(hessian: np.ndarray, weight: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Minimize `(v - w)^T H (v - w)` over the `v` that are zero where `keep` is not."""
    optimum = np.zeros_like(weight)
    if keep.any():
        rest = hessian[np.ix_(keep, keep)]
        optimum[keep] = np.linalg.solve(rest, hessian[keep] @ weight)
    return optimum
