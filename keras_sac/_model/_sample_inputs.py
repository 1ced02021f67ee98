"""Make inputs that a model can be called with, from a user's sample or from its shapes."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sac._model._graphs import is_graph
from keras_sac._model._to_numpy import to_numpy

# Keras' name for an input without one; the number depends on what the process made before.
_AUTOMATIC = re.compile(r"keras_tensor(_\d+)?")


def has_symbolic_inputs(model: keras.Model) -> bool:
    """Return whether a model knows its inputs; a Sequential model may have no graph yet."""
    return is_graph(model) and bool(getattr(model, "inputs", None))


def symbolic_inputs(model: keras.Model) -> Any:
    """Return the symbolic inputs of a model, in the structure that it takes."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def input_specs(model: keras.Model, sample: Any = None) -> Any:
    """Return a `keras.InputSpec` for each input, in the structure that the model takes.

    Args:
        model: built.
        sample: inputs; they tell the shapes of a model without a graph.

    Raises:
        ValueError: if the model has no graph, there is no sample, and the shapes are not known.
    """
    if has_symbolic_inputs(model):
        return keras.tree.map_structure(
            lambda each: _spec(each.shape, each.dtype, each.name), symbolic_inputs(model)
        )
    if sample is not None:
        return keras.tree.map_structure(
            lambda each: _spec((None, *each.shape[1:]), _dtype(each), None),
            keras.tree.map_structure(_array, sample),
        )
    shapes = (model.get_build_config() or {}).get("input_shape")
    found = _specs_of_shapes(shapes, model.input_dtype)
    if found is None:
        raise ValueError(
            f"The shape of the inputs of {model.name!r} is not known. Pass `sample=`, an array of "
            "a few inputs, or a structure of arrays as `call` takes it."
        )
    return found


def _spec(shape: Sequence[int | None], dtype: str, name: str | None) -> keras.InputSpec:
    named = None if name is None or _AUTOMATIC.fullmatch(name) else name
    return keras.InputSpec(shape=tuple(shape), dtype=dtype, name=named)


def _specs_of_shapes(shapes: Any, dtype: str) -> Any:
    if isinstance(shapes, dict):
        specs = {key: _specs_of_shapes(each, dtype) for key, each in shapes.items()}
        return None if None in specs.values() or not specs else specs
    if not isinstance(shapes, list | tuple) or not shapes:
        return None
    if all(n is None or isinstance(n, int) for n in shapes):
        # A model built on a batch of one size takes any size.
        return _spec((None, *shapes[1:]), dtype, None)
    found = [_specs_of_shapes(each, dtype) for each in shapes]
    return None if None in found else found


def input_names(specs: Any) -> list[str]:
    """Return a name for each leaf of `input_specs`: its key in a dict, its own, or a number."""
    names: list[str | None] = []

    def visit(each: Any, key: str | None) -> None:
        # In the order of `keras.tree.flatten`.
        if isinstance(each, dict):
            for name in sorted(each):
                visit(each[name], str(name))
        elif isinstance(each, list | tuple):
            for inner in each:
                visit(inner, None)
        else:
            names.append(key or each.name)

    visit(specs, None)
    alone = len(names) == 1
    return [name or ("input" if alone else f"input_{i}") for i, name in enumerate(names)]


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

    def draw(spec: keras.InputSpec) -> np.ndarray:
        sizes = sizes_of(spec, samples, unknown)
        if sizes is None or spec.dtype == "string":
            raise ValueError(
                f"The input {spec.name or 'of the model'!r} has the shape {tuple(spec.shape)} and "
                f"the dtype {spec.dtype}: it leaves open what to feed. Pass `sample=`, an array of "
                "a few inputs."
            )
        if spec.dtype == "bool" or "int" in spec.dtype:
            return rng.integers(0, 2, sizes).astype(spec.dtype)
        return rng.normal(size=sizes).astype(numpy_dtype(spec.dtype))

    return keras.tree.map_structure(draw, input_specs(model))


def sizes_of(spec: keras.InputSpec, samples: int, unknown: int | None) -> list[int] | None:
    """Return the shape of a batch; `None` if an axis stays open."""
    first = samples if spec.shape[0] is None else spec.shape[0]
    known = [unknown if size is None else size for size in spec.shape[1:]]
    sizes = [first, *(size for size in known if size is not None)]
    return sizes if len(sizes) == len(spec.shape) else None


def numpy_dtype(dtype: str) -> str:
    """Return a dtype that NumPy has; it has no bfloat16, which Keras casts to."""
    return "float32" if dtype == "bfloat16" else dtype


def sample_for(model: keras.Model, sample: Any) -> Any:
    """Return a user's sample as NumPy arrays in the structure and dtypes that the model takes.

    As `predict` does, floats and integers are cast to the dtype of the input.

    Args:
        model: built.
        sample: array of any library, or a structure of arrays; a dict may name the inputs.

    Raises:
        ValueError: if an input is missing, or the number of arrays is not the number of inputs.
    """
    if not has_symbolic_inputs(model):
        # Keras casts only floats, to the dtype that the layers compute in.
        return keras.tree.map_structure(
            lambda each: each.astype(numpy_dtype(model.input_dtype)) if _is_float(each) else each,
            keras.tree.map_structure(_array, sample),
        )
    specs = input_specs(model)
    flat = keras.tree.flatten(specs)
    names = [each.name for each in keras.tree.flatten(symbolic_inputs(model))]
    if isinstance(sample, dict):
        keys = input_names(specs) if all(k in sample for k in input_names(specs)) else names
        missing = [key for key in keys if key not in sample]
        if missing:
            raise ValueError(
                f"`sample` must have an array for each input of the model: {', '.join(keys)}. "
                f"Received: the keys {', '.join(map(str, sample))}"
            )
        arrays = [sample[key] for key in keys]
    else:
        # A nested list is one array where the model has one input.
        nested = len(flat) > 1 or keras.tree.is_nested(specs)
        arrays = keras.tree.flatten(sample) if nested else [sample]
    if len(arrays) != len(flat):
        raise ValueError(
            f"`sample` must have {len(flat)} arrays, one for each input of the model. "
            f"Received: {len(arrays)}"
        )
    pairs = zip(arrays, flat, strict=True)
    return keras.tree.pack_sequence_as(specs, [_fitted(_array(x), spec) for x, spec in pairs])


def _array(x: Any) -> np.ndarray:
    array = to_numpy(x)
    if array.dtype.kind in "OS":
        # Objects need pickle to travel to another process.
        flat = [x.decode() if isinstance(x, bytes) else str(x) for x in array.reshape(-1)]
        return np.array(flat, dtype=np.str_).reshape(array.shape)
    return array


def _fitted(array: np.ndarray, spec: keras.InputSpec) -> np.ndarray:
    """Return an array in the shape and the dtype of an input, as Keras fits it."""
    expected = tuple(spec.shape)
    if array.ndim == len(expected) - 1 and expected[-1] == 1:
        array = array[..., None]
    elif array.ndim == len(expected) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    rest = zip(array.shape[1:], expected[1:], strict=False)
    if array.ndim != len(expected) or any(size not in (n, None) for n, size in rest):
        raise ValueError(
            f"`sample` must have the shape {expected} for the input "
            f"{spec.name or 'of the model'!r}; None is any size. Received: shape {array.shape}"
        )
    if spec.dtype == "string" or array.dtype.kind == "U":
        return array
    return array.astype(numpy_dtype(spec.dtype))


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype.kind == "U" else array.dtype.name


def batch_of(sample: Any, size: int) -> Any:
    """Return the first `size` samples of a structure of arrays, repeated if there are fewer."""

    def take(x: Any) -> np.ndarray:
        array = _array(x)
        if array.ndim == 0 or not len(array):
            raise ValueError(
                f"`sample` must hold arrays of shape (samples, ...) with at least one sample. "
                f"Received: shape {array.shape}"
            )
        return np.ascontiguousarray(array[np.arange(size) % len(array)])

    return keras.tree.map_structure(take, sample)
