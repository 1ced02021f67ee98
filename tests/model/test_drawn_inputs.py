"""Inputs that show whether a copy of a model is right: bins, integers, texts, ranges, samples."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac._model import comparison_batches, input_names, input_specs, sample_for
from keras_sac._model._drawn_inputs import outputs_in_inference
from tests.cuda_tensors import CudaTensor

BACKEND = keras.backend.backend()


def values(model, name=None):
    """All values that an input of a model gets."""
    inputs = [each.inputs for each in comparison_batches(model)]
    return np.concatenate([(x if name is None else x[name]).ravel() for x in inputs])


def test_bins_that_were_adapted(rng):
    bins = layers.Discretization(num_bins=4)
    bins.adapt(rng.normal(300, 10, size=(500, 1)).astype("float32"))
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Embedding(4, 3)(bins(inputs)))
    # Each bin, those at the ends included; normal numbers would all be in the first.
    assert set(np.digitize(values(model), bins.bin_boundaries)) == {0, 1, 2, 3}


def test_integers_of_an_embedding_reach_both_ends_whatever_lies_between():
    ids = keras.Input((4,), dtype="int32", name="ids")
    flags = keras.Input((3,), dtype="int32", name="flags")
    # A slice, a reshape and a nested model are between input and embedding.
    inner = keras.Sequential([keras.Input((2,), dtype="int32"), layers.Embedding(50, 3)])
    first = inner(layers.Reshape((2,))(ids[:, :2]))
    second = layers.Embedding(9, 3)(flags)
    model = keras.Model({"ids": ids, "flags": flags}, layers.Concatenate(axis=1)([first, second]))
    found = values(model, "ids")
    assert (found.min(), found.max()) == (0, 49)
    assert len(set(found)) > 15
    found = values(model, "flags")
    assert (found.min(), found.max()) == (0, 8)
    assert found.dtype == "int32"


def test_an_integer_that_two_layers_take_fits_both():
    inputs = keras.Input((2,), dtype="int32")
    outputs = layers.Add()([layers.Embedding(40, 3)(inputs), layers.Embedding(5, 3)(inputs)])
    assert set(values(keras.Model(inputs, outputs))) == {0, 1, 2, 3, 4}


def test_ranges_of_images_and_statistics():
    image = keras.Input((4, 4, 3), name="image")
    table = keras.Input((5,), name="table")
    scaled = layers.Flatten()(layers.Rescaling(1 / 127.5, offset=-1)(image))
    normal = layers.Normalization(mean=1000.0, variance=16.0)(table)
    model = keras.Model(
        {"image": image, "table": table}, layers.Dense(2)(layers.Concatenate()([scaled, normal]))
    )
    found = values(model, "image")
    assert found.min() == pytest.approx(0, abs=1e-3)
    assert found.max() == pytest.approx(255, rel=1e-3)
    found = values(model, "table")
    # Three scales, and ends four deviations away.
    assert abs(np.median(found) - 1000) < 4
    assert 16 < np.abs(found - 1000).max() < 200


def test_numbers_without_preprocessing_have_several_scales():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    batches = comparison_batches(model)
    sizes = [float(np.abs(each.inputs).std()) for each in batches]
    assert max(sizes) > 30 * min(sizes)
    assert {len(each.inputs) for each in batches} == {1, 3}
    assert {each.scale for each in batches} == {1.0, 4.0, 10.0}
    for each in batches:
        np.testing.assert_allclose(
            each.outputs, model.predict(each.inputs, verbose=0), rtol=1e-5, atol=1e-5
        )


@keras.saving.register_keras_serializable("tests")
class Positions(layers.Layer):
    """Learned positions: it takes at most 16 steps."""

    def build(self, shape):
        self.table = self.add_weight(shape=(16, shape[-1]), name="table")

    def call(self, inputs):
        size = (keras.ops.shape(inputs)[1], self.table.shape[-1])
        table = keras.ops.convert_to_tensor(self.table)
        return inputs + keras.ops.slice(table, (0, 0), size)

    def compute_output_shape(self, shape):
        return shape


def test_open_axes_get_sizes_that_the_model_takes():
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, layers.Dense(2)(Positions()(inputs)))
    lengths = {each.inputs.shape[1] for each in comparison_batches(model)}
    # Two lengths: a converter may fix one.
    assert len(lengths) == 2
    assert max(lengths) <= 16


def test_a_sample_is_used_at_several_sizes(rng):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, layers.Dense(2)(inputs))
    sample = rng.normal(size=(5, 7, 4))
    batches = comparison_batches(model, sample)
    assert [each.inputs.shape for each in batches] == [(5, 7, 4), (1, 7, 4), (1, 6, 4)]
    np.testing.assert_array_equal(batches[0].inputs, sample.astype("float32"))
    fixed = keras.Sequential([keras.Input(batch_shape=(4, 4)), layers.Dense(2)])
    assert [each.inputs.shape for each in comparison_batches(fixed, sample[0])] == [(4, 4)]


def test_a_sample_takes_the_structure_and_the_dtypes_of_the_model(rng):
    a, b = keras.Input((2,), name="a"), keras.Input((3,), dtype="int32", name="b")
    outputs = layers.Concatenate()([a, layers.Flatten()(layers.Embedding(9, 2)(b))])
    first, second = rng.normal(size=(4, 2)), rng.integers(0, 9, (4, 3))
    listed, named = keras.Model([a, b], outputs), keras.Model({"a": a, "b": b}, outputs)
    for model, given in (
        (listed, [first, second]),
        (listed, (first, second)),
        (listed, {"b": second, "a": first}),
        (named, {"b": second, "a": first, "unused": first}),
        (named, [first, second]),
    ):
        made = keras.tree.flatten(sample_for(model, given))
        assert [each.dtype.name for each in made] == ["float32", "int32"]
        np.testing.assert_array_equal(made[1], second)
        model.predict(sample_for(model, given), verbose=0)
    with pytest.raises(ValueError, match="an array for each input of the model: a, b.*keys a"):
        sample_for(named, {"a": first})
    with pytest.raises(ValueError, match="must have 2 arrays.*Received: 1"):
        sample_for(listed, [first])
    with pytest.raises(ValueError, match=r"shape \(None, 2\) for the input 'a'.*\(4, 3\)"):
        sample_for(listed, [second, second])


def test_a_sample_may_be_on_a_gpu_or_one_column(rng):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(2)])
    x = rng.normal(size=5).astype("float32")
    np.testing.assert_array_equal(sample_for(model, CudaTensor(x)), x[:, None])
    np.testing.assert_array_equal(sample_for(model, CudaTensor(x[:, None])), x[:, None])


def test_inference_leaves_the_state_as_it_is(rng):
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(2, 5, 3)),
            layers.LSTM(4, stateful=True),
            layers.GaussianNoise(1.0),
            layers.Dense(2),
        ]
    )
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    first = outputs_in_inference(model, x)
    np.testing.assert_array_equal(outputs_in_inference(model, x), first)
    assert not any(keras.ops.convert_to_numpy(each).any() for each in model.layers[0].states)
    np.testing.assert_allclose(first, model.predict(x, batch_size=2, verbose=0), atol=1e-6)


class Pair(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.left, self.right = layers.Dense(2), layers.Dense(2)

    def call(self, inputs):
        return self.left(inputs["x"]) + self.right(inputs["y"])


def test_a_subclassed_model_of_several_inputs():
    model = Pair()
    model({"x": np.ones((4, 5), "float32"), "y": np.ones((4, 6), "float32")})
    specs = input_specs(model)
    assert {name: each.shape for name, each in specs.items()} == {"x": (None, 5), "y": (None, 6)}
    assert {each.inputs["y"].shape for each in comparison_batches(model)} == {(3, 6), (1, 6)}
    with pytest.raises(ValueError, match="cannot be called with inputs made from its shapes"):
        Refusing.comparison()


class Refusing(keras.Model):
    @classmethod
    def comparison(cls):
        model = cls()
        model.build((None, 3))
        return comparison_batches(model)

    def call(self, inputs):
        if not isinstance(inputs, keras.KerasTensor):
            raise RuntimeError("not with numbers")
        return inputs


def test_names_do_not_depend_on_what_was_made_before():
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    assert input_names(input_specs(plain)) == ["input"]
    b, a = keras.Input((4,), name="b"), keras.Input((6,))
    assert input_names(input_specs(keras.Model([b, a], [b, a]))) == ["b", "input_1"]
    named = {"q": keras.Input((4,), name="q"), "d": keras.Input((6,), name="d")}
    model = keras.Model(named, layers.Concatenate()([named["q"], named["d"]]))
    assert input_names(input_specs(model)) == ["d", "q"]


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has tensors of texts")
def test_texts_come_from_the_vocabulary():
    words = layers.StringLookup(vocabulary=["red", "green"])
    model = keras.Sequential(
        [keras.Input((2,), dtype="string"), words, layers.Embedding(3, 2), layers.Flatten()]
    )
    assert {"red", "green", "an unknown text"} <= set(values(model))
    # Objects and tensors of bytes become texts, which need no pickle.
    sample = np.array([["red", "blue"]], dtype=object)
    assert sample_for(model, sample).dtype.kind == "U"
    assert sample_for(model, keras.ops.convert_to_tensor(sample)).tolist() == sample.tolist()
    sentences = layers.TextVectorization(vocabulary=["one", "two"], output_sequence_length=4)
    model = keras.Sequential([keras.Input((), dtype="string"), sentences, layers.Embedding(4, 2)])
    assert any("one" in text and " " in text for text in values(model))
