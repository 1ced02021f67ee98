"""The one heavy product of a pass, `XᵀX`, on the processor or on the backend's GPU."""

from collections.abc import Callable

import keras
import numpy as np
from scipy.linalg import blas

# Below this many multiplications a transfer to the GPU costs more than the product.
_WORTH_A_TRANSFER = 1 << 31


def gram(x: np.ndarray) -> np.ndarray:
    """Return `XᵀX` in single precision; only its lower triangle is meaningful.

    On the processor BLAS' `ssyrk` does half of the work of a general product. Where Keras puts
    its tensors on a GPU, large batches are multiplied there, see `split_gram`.

    Args:
        x: shape `(samples, features)`, float32, C-contiguous.

    Returns:
        Shape `(features, features)`, float32 (float64 from a GPU).
    """
    if x.shape[0] * x.shape[1] ** 2 >= _WORTH_A_TRANSFER and on_gpu():
        return split_gram(x, _keras_matmul)
    # `x.T` is Fortran-contiguous, so BLAS reads it in place; its upper triangle is our lower one.
    return blas.ssyrk(1.0, x.T, lower=0).T


def on_gpu() -> bool:
    """Say whether Keras puts a new tensor on a GPU, on whichever backend."""
    device = str(getattr(keras.ops.convert_to_tensor(0.0), "device", "")).lower()
    return "cuda" in device or "gpu" in device


def split_gram(x: np.ndarray, matmul: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return `XᵀX` to single precision even where `matmul` rounds its inputs to TF32.

    `X = H + L`, `XᵀX = HᵀH + HᵀL + (HᵀL)ᵀ + LᵀL`, where `H` has the 11 significant bits that TF32
    keeps and `L` is the exact rest. TensorFlow and JAX use TF32 on recent GPUs by default, and the
    public Keras API has no switch for it; so the product does not depend on the setting.

    Args:
        x: shape `(samples, features)`, float32.
        matmul: product of two float32 matrices, accumulated in float32.

    Returns:
        Shape `(features, features)`, float64.
    """
    # Adding half a unit before the cut rounds to nearest, so that the rest has no bias.
    bits = x.view(np.uint32)
    high = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    low = x - high
    cross = matmul(high.T, low).astype(np.float64)
    total = matmul(high.T, high).astype(np.float64)
    total += matmul(low.T, low)
    total += cross
    total += cross.T
    return total


def _keras_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.matmul(a, b)))
