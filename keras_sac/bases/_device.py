"""Compute `XᵀX`, the expensive product of a pass, on the CPU or on the backend's GPU."""

from collections.abc import Callable

import keras
import numpy as np
from scipy.linalg import blas

# With fewer multiplications, the transfer to the GPU costs more than the product.
_WORTH_A_TRANSFER = 1 << 31


def gram(x: np.ndarray) -> np.ndarray:
    """Return `XᵀX` in single precision; only its lower triangle is meaningful.

    On the CPU, `ssyrk` of BLAS takes half of the work of a general product. If Keras puts its
    tensors on a GPU, large batches are multiplied there; see `split_gram`.

    Args:
        x: shape `(samples, features)`, float32, C-contiguous.

    Returns:
        Shape `(features, features)`, float32 (float64 from a GPU).
    """
    if x.shape[0] * x.shape[1] ** 2 >= _WORTH_A_TRANSFER and on_gpu():
        return split_gram(x, _keras_matmul)
    # `x.T` is Fortran-contiguous, so BLAS reads it in place. The transpose makes its upper triangle
    # the lower one.
    return blas.ssyrk(1.0, x.T, lower=0).T


def on_gpu() -> bool:
    """Return whether Keras puts a new tensor on a GPU, on any backend."""
    device = str(getattr(keras.ops.convert_to_tensor(0.0), "device", "")).lower()
    return "cuda" in device or "gpu" in device


def split_gram(x: np.ndarray, matmul: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return `XᵀX` in single precision even if `matmul` rounds its inputs to TF32.

    `X = H + L`, `XᵀX = HᵀH + HᵀL + (HᵀL)ᵀ + LᵀL`, where `H` has the 11 significant bits that TF32
    keeps and `L` is the exact rest. TensorFlow and JAX use TF32 on recent GPUs by default, and the
    public Keras API cannot switch it off; with this sum the setting does not matter.

    Args:
        x: shape `(samples, features)`, float32.
        matmul: product of two float32 matrices, accumulated in float32.

    Returns:
        Shape `(features, features)`, float64.
    """
    # Half a unit is added before the cut, which rounds to nearest: the rest then has no bias.
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
