"""Run kernels with 2:4 sparsity on GPUs that skip the zeros (`to_sparse_semi_structured`)."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_sac.sparse_runtime._matrix_layer import (
    MatrixLayer,
    input_shape_of,
    kernel_of,
    settings_of,
)

DTYPES = ("float16", "bfloat16")
_CAPABILITY = (8, 0)
# CUTLASS needs these multiples for a matrix `(units, in_dim)` in half precision; cuSPARSELt needs
# smaller ones.
_UNITS, _IN_DIM = 32, 64


def capability() -> tuple[int, int] | None:
    """Return the compute capability of torch's GPU; `None` without torch or GPU."""
    if keras.backend.backend() != "torch":
        return None
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def why_not_semi_structured(
    kernel: np.ndarray, dtype: str, compute_capability: tuple[int, int] | None
) -> str | None:
    """Return why a kernel cannot run in the 2:4 format; `None` if it can.

    Args:
        kernel: matrix of shape `(in_dim, units)`.
        dtype: dtype that the layer computes in.
        compute_capability: compute capability of the GPU; `None` without one.
    """
    if compute_capability is None:
        return "2:4 needs torch on a GPU"
    if compute_capability < _CAPABILITY:
        found, least = (".".join(map(str, each)) for each in (compute_capability, _CAPABILITY))
        return f"2:4 needs a GPU of compute capability {least}; this one has {found}"
    if dtype not in DTYPES:
        return f"2:4 needs {' or '.join(DTYPES)}, not {dtype}"
    in_dim, units = kernel.shape
    if in_dim % _IN_DIM or units % _UNITS:
        return f"2:4 needs multiples of {_IN_DIM} inputs and {_UNITS} units, not {kernel.shape}"
    fours = kernel.reshape(in_dim // 4, 4, units)
    if np.count_nonzero(fours, axis=1).max() > 2:
        return "some group of four inputs has more than two nonzero weights"
    return None


class SemiStructuredDense(MatrixLayer):
    """Inference layer with a 2:4 sparse product on a GPU; made by `to_sparse_runtime`.

    The layer cannot be saved: its matrix is in a format of this GPU.

    Args:
        kernel: array of shape `(in_dim, units)`.
        **kwargs: arguments of `MatrixLayer`.
    """

    def __init__(self, kernel: np.ndarray, **kwargs: Any):
        super().__init__(**kwargs)
        self._kernel = kernel
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        """Convert the matrix to the 2:4 format on the GPU."""
        import torch

        super().build(input_shape)
        tensor = keras.ops.convert_to_tensor(self._kernel.T, dtype=self.compute_dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is in prototype stage", UserWarning)
            self._packed = torch.sparse.to_sparse_semi_structured(tensor.contiguous())
        del self._kernel

    def dense_kernel(self) -> np.ndarray:
        """Return the kernel `(in_dim, units)` with its zeros."""
        return keras.ops.convert_to_numpy(self._packed.to_dense()).T

    def get_config(self) -> dict[str, Any]:
        """Raise an error: the layer cannot be saved."""
        raise NotImplementedError(
            f"The layer {self.name!r} cannot be saved: its matrix is in a format of this GPU. Save "
            "the dense model, for example with `save_sparse`, and call `to_sparse_runtime` again "
            "where it runs."
        )

    def _product(self, x: Any) -> Any:
        import torch

        return torch.nn.functional.linear(x, self._packed)


def semi_structured_of(layer: keras.layers.Layer) -> SemiStructuredDense:
    """Return a layer with the same outputs whose product skips two zeros in four.

    Args:
        layer: built layer for whose kernel `why_not_semi_structured` returns `None`.
    """
    new = SemiStructuredDense(kernel_of(layer), **settings_of(layer))
    new.build(input_shape_of(layer))
    if new.bias is not None:
        new.bias.assign(layer.bias)
    return new
