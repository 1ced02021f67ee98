"""Draw inputs that reach every branch of a model's preprocessing, to compare a file with it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_sac import _backend
from keras_sac._model._calls import Call, watched_calls
from keras_sac._model._sample_inputs import (
    batch_of,
    input_specs,
    numpy_dtype,
    sample_for,
    sizes_of,
)
from keras_sac._model._to_numpy import to_numpy
from keras_sac._model._walk import all_layers
from keras_sac._run import in_full_precision

L = keras.layers
_LOOKUPS = (L.StringLookup, L.IntegerLookup, L.TextVectorization)
_HASHES = (L.Hashing, L.HashedCrossing)
_PREPROCESSING = (
    *(L.Embedding, L.CategoryEncoding, L.Discretization, L.Normalization, L.Rescaling),
    *_LOOKUPS,
    *_HASHES,
)
# Sizes to try for axes that the model leaves open; images need a large one, learned positions a
# small one.
_OPEN_SIZES = (32, 12, 5, 96, 2)
_MOST_SAMPLES = 32


class Batch(NamedTuple):
    """Inputs, and what a model returns for them.

    Attributes:
        inputs: a structure of arrays as the model takes it.
        outputs: a structure of arrays as the model returns it.
        scale: size of the inputs relative to those that the model is made for, at least 1; rounding
            errors grow with it.
    """

    inputs: Any
    outputs: Any
    scale: float


class _Range(NamedTuple):
    """The values that an input may have.

    Attributes:
        draw: returns an array, from a generator, a shape and a scale.
        low: smallest or first value.
        high: largest or last value.
    """

    draw: Callable[[np.random.Generator, list[int], float], np.ndarray]
    low: Any
    high: Any


def outputs_in_inference(model: keras.Model, inputs: Any) -> Any:
    """Return the outputs of a model as NumPy arrays, in inference mode and full precision.

    Unlike `predict_on_batch`, this leaves the states of the model as they are, and runs on one
    replica of `tf.distribute`.
    """
    with (
        keras.StatelessScope(),
        _backend.without_gradients(),
        in_full_precision(),
    ):
        tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
        outputs = model(tensors, training=False)
        return keras.tree.map_structure(to_numpy, outputs)


def comparison_batches(model: keras.Model, sample: Any = None) -> list[Batch]:
    """Return batches of inputs and outputs that a copy of a model must reproduce.

    Batches have several sizes, and so have axes that the model leaves open: a converter may fix
    them.

    Args:
        model: built.
        sample: a user's inputs. By default, inputs are drawn for the model's own preprocessing:
            integers of an embedding, bins, vocabularies, ranges of images; else normal numbers.
            They have several scales, and contain both ends of each range.

    Raises:
        ValueError: if the sample does not fit, or the shapes of the inputs are not known.
    """
    if sample is not None:
        return list(_batches_of_sample(model, sample_for(model, sample)))
    return list(_drawn_batches(model))


def _batches_of_sample(model: keras.Model, sample: Any) -> Iterator[Batch]:
    arrays = keras.tree.flatten(sample)
    fixed = keras.tree.flatten(input_specs(model, sample))[0].shape[0]
    # Checks that there are samples.
    batch_of(sample, 1)
    for size in [fixed] if fixed else [min(len(arrays[0]), _MOST_SAMPLES), 1]:
        batch = batch_of(sample, size)
        yield Batch(batch, outputs_in_inference(model, batch), 1.0)
    shorter = _shorter(model, batch)
    if shorter is not None:
        yield from _if_it_runs(model, shorter)


def _if_it_runs(model: keras.Model, inputs: Any) -> list[Batch]:
    """Return a batch for inputs of another length; an empty list if the model refuses them."""
    try:
        return [Batch(inputs, outputs_in_inference(model, inputs), 1.0)]
    except Exception:
        return []


def _shorter(model: keras.Model, batch: Any) -> Any:
    """Return a batch with one step less along the open axes; `None` if there is no such axis."""
    specs = input_specs(model, batch)
    found = []

    def cut(array: np.ndarray, spec: keras.InputSpec) -> np.ndarray:
        for axis, size in enumerate(spec.shape):
            if axis and size is None and array.shape[axis] > 2:
                found.append(axis)
                array = np.take(array, range(array.shape[axis] - 1), axis=axis)
        return array

    made = keras.tree.map_structure(cut, batch, specs)
    return made if found else None


def _drawn_batches(model: keras.Model) -> Iterator[Batch]:
    specs = input_specs(model)
    flat = keras.tree.flatten(specs)
    size = 3 if flat[0].shape[0] is None else flat[0].shape[0]
    length, ranges = _first_that_runs(model, specs)
    rng = np.random.default_rng(0)

    def packed(arrays: list[np.ndarray]) -> Any:
        cast = [
            each if spec.dtype == "string" else each.astype(numpy_dtype(spec.dtype))
            for each, spec in zip(arrays, flat, strict=True)
        ]
        return keras.tree.pack_sequence_as(specs, cast)

    def drawn(samples: int, unknown: int, scale: float = 1.0) -> Any:
        pairs = zip(ranges, flat, strict=True)
        return packed([each.draw(rng, _sizes(x, samples, unknown), scale) for each, x in pairs])

    made = [(drawn(size, length), 1.0)]
    if flat[0].shape[0] is None:
        made.append((drawn(1, length), 1.0))
    if any("float" in spec.dtype for spec in flat):
        made += [(drawn(size, length, 0.1), 1.0), (drawn(size, length, 10.0), 10.0)]
    ends = []
    for each, spec in zip(ranges, flat, strict=True):
        sizes = _sizes(spec, size, length)
        rows = np.asarray([each.low if i % 2 else each.high for i in range(size)])
        ends.append(np.broadcast_to(rows.reshape(size, *[1] * (len(sizes) - 1)), sizes))
    made.append((packed(ends), 4.0))
    for inputs, scale in made:
        yield Batch(inputs, outputs_in_inference(model, inputs), scale)
    if length > 2 and any(None in spec.shape[1:] for spec in flat):
        yield from _if_it_runs(model, drawn(size, length - 1))


def _sizes(spec: keras.InputSpec, samples: int, unknown: int) -> list[int]:
    return sizes_of(spec, samples, unknown) or []


def _first_that_runs(model: keras.Model, specs: Any) -> tuple[int, list[_Range]]:
    """Return a size for the open axes for which the model can be called, and the ranges."""
    is_open = any(None in spec.shape[1:] for spec in keras.tree.flatten(specs))
    sizes = _OPEN_SIZES if is_open else _OPEN_SIZES[:1]
    errors = []
    for size in sizes:
        try:
            return size, _ranges(model, specs, size)
        except Exception as error:
            errors.append(error)
    raise ValueError(
        f"The model {model.name!r} cannot be called with inputs made from its shapes. Pass "
        f"`sample=`, an array of a few inputs, or a structure of arrays as `call` takes it. "
        f"{type(errors[0]).__name__}: {errors[0]}"
    ) from errors[0]


def _ranges(model: keras.Model, specs: Any, unknown: int) -> list[_Range]:
    """Return the range of each input, found by watching which layers receive it unchanged.

    With inputs of zeros, then with one input of ones, a preprocessing layer that receives the input
    itself, or parts of it, sees zeros turn into ones.
    """
    flat = keras.tree.flatten(specs)
    zeros = [_filled(spec, unknown, 0) for spec in flat]
    before = _received(model, specs, zeros)
    ranges = []
    for i, spec in enumerate(flat):
        fed = []
        if before:
            changed = [*zeros[:i], _filled(spec, unknown, 1), *zeros[i + 1 :]]
            after = _received(model, specs, changed)
            fed = [
                layer
                for (layer, old), (_, new) in zip(before, after, strict=True)
                if _is_fed(old, new)
            ]
        ranges.append(_range(spec, fed))
    return ranges


def _filled(spec: keras.InputSpec, unknown: int, value: int) -> np.ndarray:
    sizes = _sizes(spec, 1, unknown)
    if spec.dtype == "string":
        return np.full(sizes, str(value))
    return np.full(sizes, value).astype(numpy_dtype(spec.dtype))


def _received(
    model: keras.Model, specs: Any, arrays: list[np.ndarray]
) -> list[tuple[keras.layers.Layer, np.ndarray]]:
    """Call the model, and return what each preprocessing layer received."""
    found: list[tuple[keras.layers.Layer, np.ndarray]] = []

    def see(call: Call) -> None:
        if isinstance(call.layer, _PREPROCESSING):
            found.extend((call.layer, to_numpy(x)) for x in keras.tree.flatten(call.arguments[0]))

    inputs = keras.tree.pack_sequence_as(specs, arrays)
    if any(isinstance(each, _PREPROCESSING) for each in all_layers(model)):
        with watched_calls(model, see):
            outputs_in_inference(model, inputs)
    else:
        outputs_in_inference(model, inputs)
    return found


def _is_fed(old: np.ndarray, new: np.ndarray) -> bool:
    if old.shape != new.shape:
        return False
    changed = old != new
    if old.dtype.kind in "OSU":
        return bool(changed.any())
    return bool(changed.any() and (old[changed] == 0).all() and (new[changed] == 1).all())


def _range(spec: keras.InputSpec, layers: list[keras.layers.Layer]) -> _Range:
    """Return the values for an input that some preprocessing layers receive."""
    if spec.dtype == "string":
        return _text(layers, spec)
    found = [each for layer in layers for each in _numbers(layer)]
    if spec.dtype == "bool" or "int" in spec.dtype:
        whole = [each for each in found if isinstance(each, range)]
        if whole:
            # Each of the layers must accept the integer.
            return _choices(np.arange(min(len(each) for each in whole)))
        listed = [np.asarray(each) for each in found if isinstance(each, list)]
        return _choices(np.concatenate(listed) if listed else np.array([0, 1]))
    floats = [
        _choices(np.asarray(each, "float64"))
        if isinstance(each, range | list)
        else _uniform(*each)
        if isinstance(each, tuple)
        else _normal(each)
        for each in found
    ]
    return _mixture(floats) if floats else _normal({"mean": 0.0, "spread": 1.0})


def _numbers(layer: keras.layers.Layer) -> list[Any]:
    """Return the numbers that a layer is made for: `range`, list, bounds, or mean and spread."""
    if isinstance(layer, L.Embedding):
        return [range(layer.input_dim)]
    if isinstance(layer, L.CategoryEncoding):
        return [range(layer.num_tokens)]
    if isinstance(layer, _HASHES):
        return [range(1000)]
    if isinstance(layer, L.IntegerLookup):
        return [[int(each) for each in layer.get_vocabulary()]]
    if isinstance(layer, L.Discretization):
        bins = list(layer.bin_boundaries or [0.0])
        margin = max(1.0, bins[-1] - bins[0]) / max(1, len(bins) - 1)
        return [(bins[0] - margin, bins[-1] + margin)]
    if isinstance(layer, L.Rescaling):
        ends = [(end - np.asarray(layer.offset)) / np.asarray(layer.scale) for end in (-1.0, 1.0)]
        return [(float(np.min(ends)), float(np.max(ends)))]
    if isinstance(layer, L.Normalization) and not layer.invert:
        mean, variance = to_numpy(layer.mean), to_numpy(layer.variance)
        return [{"mean": float(mean.mean()), "spread": float(np.sqrt(variance.max()) + mean.std())}]
    return []


def _text(layers: list[keras.layers.Layer], spec: keras.InputSpec) -> _Range:
    words = [
        str(word)
        for layer in layers
        if isinstance(layer, _LOOKUPS)
        for word in layer.get_vocabulary()
    ]
    if not words and not any(isinstance(each, _HASHES) for each in layers):
        raise ValueError(f"The input {spec.name or 'of the model'!r} takes texts.")
    known = np.array([*words, "an unknown text"])
    sentences = any(isinstance(each, L.TextVectorization) for each in layers)

    def draw(rng: np.random.Generator, shape: list[int], scale: float) -> np.ndarray:
        if not sentences:
            return rng.choice(known, shape)
        made = [" ".join(rng.choice(known, rng.integers(1, 9))) for _ in range(int(np.prod(shape)))]
        return np.array(made).reshape(shape)

    return _Range(draw, known[0], known[-1])


def _choices(values: np.ndarray) -> _Range:
    return _Range(lambda rng, shape, scale: rng.choice(values, shape), values[0], values[-1])


def _uniform(low: float, high: float) -> _Range:
    return _Range(lambda rng, shape, scale: rng.uniform(low, high, shape), low, high)


def _normal(of: dict[str, float]) -> _Range:
    mean, spread = of["mean"], of["spread"]
    return _Range(
        lambda rng, shape, scale: mean + scale * spread * rng.normal(size=shape),
        mean - 4 * spread,
        mean + 4 * spread,
    )


def _mixture(ranges: list[_Range]) -> _Range:
    """Return a range that takes each number from one of several."""

    def draw(rng: np.random.Generator, shape: list[int], scale: float) -> np.ndarray:
        drawn = [each.draw(rng, shape, scale) for each in ranges]
        return np.choose(rng.integers(len(ranges), size=shape), drawn)

    return _Range(draw, min(each.low for each in ranges), max(each.high for each in ranges))
