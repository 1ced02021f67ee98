"""Kernels with two zeros in four on GPUs that skip them: torch's `to_sparse_semi_structured`."""

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
# What CUTLASS asks of a matrix `(units, in_dim)` in half precision; cuSPARSELt asks for less.
_UNITS, _IN_DIM = 32, 64


def capability() -> tuple[int, int] | None:
    """Return the compute capability of the GPU that torch uses, `None` without one."""
    if keras.backend.backend() != "torch":
        return None
    import torch

    return torch.cuda.get_device_capability() if torch.cuda.is_available() else None


def why_not_semi_structured(
    kernel: np.ndarray, dtype: str, compute_capability: tuple[int, int] | None
) -> str | None:
    """Return why a kernel cannot run with two zeros in four skipped, `None` if it can.

    Args:
        kernel: `(in_dim, units)`.
        dtype: that the layer computes in.
        compute_capability: of the GPU.
    """
    if compute_capability is None:
        return "2:4 needs torch on a GPU"
    if compute_capability < _CAPABILITY:
        found, least = (".".join(map(str, each)) for each in (compute_capability, _CAPABILITY))
        return f"2:4 needs a GPU of compute capability {least}, this is {found}"
    if dtype not in DTYPES:
        return f"2:4 needs {' or '.join(DTYPES)}, not {dtype}"
    in_dim, units = kernel.shape
    if in_dim % _IN_DIM or units % _UNITS:
        return f"2:4 needs multiples of {_IN_DIM} inputs and {_UNITS} units, not {kernel.shape}"
    fours = kernel.reshape(in_dim // 4, 4, units)
    if np.count_nonzero(fours, axis=1).max() > 2:
        return "four inputs of a unit have more than two weights that are not zero"
    return None


class SemiStructuredDense(MatrixLayer):
    """What `to_sparse_runtime` puts in the place of a layer whose 2:4 product is faster.

    A run-time object: the matrix is in the form that this GPU takes, and is not saved.

    Args:
        kernel: `(in_dim, units)` array.
        **kwargs: as for any `MatrixLayer`.
    """

    def __init__(self, kernel: np.ndarray, **kwargs: Any):
        super().__init__(**kwargs)
        self._kernel = kernel
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        """Bring the matrix to the GPU, in its form there."""
        import torch

        super().build(input_shape)
        tensor = keras.ops.convert_to_tensor(self._kernel.T, dtype=self.compute_dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is in prototype stage", UserWarning)
            self._packed = torch.sparse.to_sparse_semi_structured(tensor.contiguous())
        del self._kernel

    def get_config(self) -> dict[str, Any]:
        """Refuse: the matrix is not saved."""
        raise NotImplementedError(
            f"The layer {self.name!r} holds its matrix in the form that this GPU takes, which is "
            "not saved. Save the model that `to_sparse_runtime` was given, for example by "
            "`save_sparse`, and make a new one of it where it runs."
        )

    def _product(self, x: Any) -> Any:
        import torch

        return torch.nn.functional.linear(x, self._packed)


def semi_structured_of(layer: keras.layers.Layer) -> SemiStructuredDense:
    """Return a layer with the same outputs whose product skips two zeros in four.

    Args:
        layer: built, one that `why_not_semi_structured` has nothing to say of.
    """
    new = SemiStructuredDense(kernel_of(layer), **settings_of(layer))
    new.build(input_shape_of(layer))
    if new.bias is not None:
        new.bias.assign(layer.bias)
    return new
