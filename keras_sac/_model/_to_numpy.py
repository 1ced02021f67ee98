"""Convert an array of any library to a NumPy array."""

from typing import Any

import numpy as np


def to_numpy(x: Any) -> np.ndarray:
    """Return `x` as a NumPy array, without a copy where it is one already.

    Tensors are recognized by their methods, so that no backend is imported.

    Args:
        x: NumPy array, PyTorch tensor (any device, with or without gradient), TensorFlow tensor,
            JAX array, Keras variable, pandas object, SciPy sparse array, or nested lists.

    Returns:
        The values; bfloat16 becomes float32, which holds it exactly.
    """
    if isinstance(x, np.ndarray) and x.dtype.name != "bfloat16":
        # A memmap stays on disk for as long as it is only sliced.
        return x
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        return (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    if hasattr(x, "toarray"):
        # A sparse array of SciPy; only batches are ever made dense.
        return x.toarray()
    if hasattr(x, "to_numpy"):
        return np.asarray(x.to_numpy())
    if hasattr(x, "numpy"):
        x = x.numpy()
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.name == "bfloat16" else x


def is_array(x: Any) -> bool:
    """Return whether `x` is an array of samples: it has a shape and a type and can be sliced."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__")


def is_frame(x: Any) -> bool:
    """Return whether `x` is a pandas DataFrame or Series."""
    return hasattr(x, "iloc") and hasattr(x, "to_numpy")


def is_lazy(x: Any) -> bool:
    """Return whether `x` is an array that must not be converted as a whole: dask's, or sparse."""
    return hasattr(x, "__dask_graph__") or hasattr(x, "toarray")
