"""Make inputs that a model can be called with."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model._graphs import is_graph


def has_symbolic_inputs(model: keras.Model) -> bool:
    """Return whether a model knows its inputs; a Sequential model may have no graph yet."""
    return is_graph(model) and bool(getattr(model, "inputs", None))


def symbolic_inputs(model: keras.Model) -> Any:
    """Return the symbolic inputs of a model, in the structure that it takes."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def noise(model: keras.Model, samples: int, *, unknown: int | None = None, seed: int = 0) -> Any:
    """Return random inputs for a model: standard normal numbers; zeros and ones for integers.

    Args:
        model: built.
        samples: size of the first axis, unless the model fixes it.
        unknown: size of other axes that the model leaves open.
        seed: of the random numbers.

    Returns:
        An array, or a structure of arrays as the model takes it.

    Raises:
        ValueError: if the shape of the inputs is not known, or an axis is open and `unknown` is
            `None`.
    """
    rng = np.random.default_rng(seed)

    def draw(shape: Sequence[int | None], dtype: str, name: str) -> np.ndarray:
        first = samples if shape[0] is None else shape[0]
        known = [unknown if size is None else size for size in shape[1:]]
        sizes = [first, *(size for size in known if size is not None)]
        if len(sizes) < len(shape) or dtype == "string":
            raise ValueError(
                f"The input {name!r} has the shape {tuple(shape)} and the dtype {dtype}: it leaves "
                "open what to feed. Pass `sample=`, an array of a few inputs."
            )
        if dtype == "bool" or "int" in dtype:
            return rng.integers(0, 2, sizes).astype(dtype)
        # NumPy has no bfloat16; Keras casts its inputs.
        return rng.normal(size=sizes).astype("float32" if dtype == "bfloat16" else dtype)

    if has_symbolic_inputs(model):
        return keras.tree.map_structure(
            lambda each: draw(each.shape, each.dtype, each.name), symbolic_inputs(model)
        )
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, list | tuple) or not all(
        n is None or isinstance(n, int) for n in shape
    ):
        raise ValueError(
            f"The shape of the inputs of {model.name!r} is not known. Pass `sample=`, an array of "
            "a few inputs, or a structure of arrays as `call` takes it."
        )
    # A model built on a batch of one size takes any size.
    return draw((None, *shape[1:]), model.input_dtype, model.name)


def batch_of(sample: Any, size: int) -> Any:
    """Return the first `size` samples of a structure of arrays, repeated if there are fewer."""

    def take(array: Any) -> np.ndarray:
        array = np.asarray(array)
        if array.ndim == 0 or not len(array):
            raise ValueError(
                f"`sample` must hold arrays of shape (samples, ...) with at least one sample. "
                f"Received: shape {array.shape}"
            )
        return np.ascontiguousarray(array[np.arange(size) % len(array)])

    return keras.tree.map_structure(take, sample)
