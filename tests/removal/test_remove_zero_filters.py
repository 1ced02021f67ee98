"""`remove_zero_filters`: exactly the same outputs from fewer units."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from small_graphs import EXACT, inputs

from keras_sac import prune_filters_by_norm, remove_zero_filters


def zeroed(layer, units, bias=None):
    """Set the kernel of some units to zero, on the last axis, and their bias to a number."""
    values = layer.get_weights()
    values[0][..., units] = 0.0
    if bias is not None:
        values[1][units] = bias
    layer.set_weights(values)


def same(model, small, x):
    for new, old in zip(
        keras.tree.flatten(small.predict(x, verbose=0)),
        keras.tree.flatten(model.predict(x, verbose=0)),
        strict=True,
    ):
        np.testing.assert_allclose(new, old, atol=1e-5 * max(np.abs(old).max(), 1e-3))


def chain(*layers, shape=(8, 8, 3)):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(shape), *layers])


def test_zeros_without_bias_are_left_out_behind_padding():
    first = L.Conv2D(8, 3, padding="same", activation="relu", name="first")
    second = L.Conv2D(6, 3, padding="same", name="second")
    model = chain(first, second, L.GlobalAveragePooling2D(), L.Dense(4))
    zeroed(first, [1, 4, 5])
    small, report = remove_zero_filters(model)
    assert small.get_layer("first").filters == 5
    same(model, small, inputs(model))
    row = report.set_index("layer").loc["first"]
    assert (row["units_before"], row["zero_units"], row["units_after"]) == (8, 3, 5)
    assert row["reason"] == ""
    assert report.attrs["total"]["parameters_after"] == small.count_params()


@pytest.mark.parametrize(
    "reader",
    [
        lambda: [L.Flatten(), L.Dense(4, name="reader")],
        lambda: [L.Conv2D(4, 3, name="reader"), L.GlobalMaxPooling2D()],
        lambda: [L.Conv2D(4, 1, padding="same", name="reader"), L.Flatten()],
        lambda: [L.MaxPooling2D(), L.Flatten(), L.Dense(4, name="reader")],
    ],
)
def test_constants_go_to_the_bias_of_what_follows(reader):
    first = L.Conv2D(8, 3, padding="same", name="first")
    norm = L.BatchNormalization(name="norm")
    model = chain(first, norm, L.Activation("tanh"), *reader())
    norm.set_weights([np.random.default_rng(i).uniform(0.5, 1.5, 8) for i in range(4)])
    zeroed(first, [0, 6], bias=[0.7, -0.3])
    small, _ = remove_zero_filters(model)
    assert small.get_layer("first").filters == 6
    assert small.get_layer("norm").gamma.shape == (6,)
    same(model, small, inputs(model))


def stays(message, *layers):
    first = L.Conv2D(8, 3, padding="same", name="first")
    model = chain(first, *layers, L.GlobalAveragePooling2D(), L.Dense(4))
    zeroed(first, [2], bias=[0.5])
    small, report = remove_zero_filters(model)
    assert small.get_layer("first").filters == 8
    assert message in report.set_index("layer").loc["first", "reason"]
    same(model, small, inputs(model))


def test_what_is_not_exact_stays_and_is_named():
    stays(
        "reach 'reader', which cannot take them over", L.Conv2D(4, 3, padding="same", name="reader")
    )
    stays("cannot take them over", L.Conv2D(4, 3, use_bias=False, name="reader"))
    stays(
        "not constant where they reach 'reader'", L.ZeroPadding2D(), L.Conv2D(4, 3, name="reader")
    )
    stays("the statistics of 'norm'", L.LayerNormalization(name="norm"))


def test_a_unit_of_a_sum_goes_only_with_its_partner():
    i = keras.Input((6,))
    a, b = L.Dense(5, name="a"), L.Dense(5, name="b")
    model = keras.Model(i, L.Dense(2)(L.Add()([a(i), b(i)])))
    zeroed(a, [1, 3], bias=[1.0, 2.0])
    zeroed(b, [3, 4], bias=[0.5, 0.0])
    small, report = remove_zero_filters(model)
    assert small.get_layer("a").units == small.get_layer("b").units == 4
    assert list(report.set_index("layer").loc[["a", "b"], "zero_units"]) == [1, 1]
    same(model, small, inputs(model))


def test_recurrent_units_and_embeddings():
    embedding, lstm = L.Embedding(20, 8, name="e"), L.LSTM(6, return_sequences=True, name="l")
    model = keras.Sequential([keras.Input((7,), dtype="int32"), embedding, lstm, L.Dense(3)])
    zeroed(embedding, [2, 5])
    kernel, recurrent, bias = lstm.get_weights()
    for gate in range(4):
        kernel[:, gate * 6 + 1] = recurrent[:, gate * 6 + 1] = bias[gate * 6 + 1] = 0.0
    lstm.set_weights([kernel, recurrent, bias])
    small, _ = remove_zero_filters(model)
    assert (small.get_layer("e").output_dim, small.get_layer("l").units) == (6, 5)
    same(model, small, inputs(model))


def test_a_recurrent_unit_that_reads_its_own_bias_stays():
    rnn = L.SimpleRNN(6, name="rnn")
    model = chain(rnn, L.Dense(3), shape=(7, 4))
    kernel, recurrent, bias = rnn.get_weights()
    kernel[:, 2] = recurrent[:, 2] = 0.0
    bias[2] = 0.5
    rnn.set_weights([kernel, recurrent, bias])
    small, report = remove_zero_filters(model)
    assert small.get_layer("rnn").units == 6
    assert "reach 'rnn'" in report.set_index("layer").loc["rnn", "reason"]
    same(model, small, inputs(model))


def test_the_last_unit_of_a_layer_stays():
    first = L.Dense(3, name="first")
    model = chain(first, L.Dense(2), shape=(5,))
    zeroed(first, [0, 1, 2], bias=[1.0, 2.0, 3.0])
    small, report = remove_zero_filters(model)
    assert small.get_layer("first").units == 1
    assert report.set_index("layer").loc["first", "reason"] == "its layer has no other unit"
    same(model, small, inputs(model))


def test_what_reads_a_constant_twice_takes_it_over_once():
    first, reader = L.Dense(6, name="first"), L.Dense(5, name="reader")
    i, j = keras.Input((4,)), keras.Input((4,))
    parts = [reader(ops.tanh(first(each))) for each in (i, j)]
    model = keras.Model([i, j], L.Dense(2)(L.Concatenate()(parts)))
    zeroed(first, [1, 5], bias=[0.4, -0.8])
    small, _ = remove_zero_filters(model)
    assert small.get_layer("first").units == 4
    same(model, small, inputs(model))


def test_one_sample_shows_no_constants():
    first = L.Dense(6, name="first")
    i, scale = keras.Input((4,)), keras.Input((1,))
    model = keras.Model([i, scale], L.Dense(2, name="reader")(first(i) * scale))
    zeroed(first, [1], bias=[0.4])
    x = inputs(model)
    for samples in (1, 3):
        small, report = remove_zero_filters(model, sample=[each[:samples] for each in x])
        assert "not constant" in report.set_index("layer").loc["first", "reason"]
        same(model, small, x)


def test_after_pruning_of_filters():
    model = chain(
        L.Conv2D(8, 3, activation="relu", name="first"), L.Conv2D(6, 3), L.Flatten(), L.Dense(4)
    )
    model.compile("sgd", "mse")
    norms = np.abs(model.get_layer("first").get_weights()[0]).sum(axis=(0, 1, 2))
    prune_filters_by_norm(model, float(np.median(norms)), targets="first")
    small, _ = remove_zero_filters(model)
    assert small.get_layer("first").filters == 4
    assert small.compiled
    same(model, small, inputs(model))


@pytest.mark.parametrize("build", EXACT)
def test_zeros_in_every_kind_of_graph(build):
    """Every third unit of each layer but the outputs is zero."""
    keras.utils.set_random_seed(0)
    model = build()
    for layer in [each for each in model.layers if isinstance(each, L.Dense | L.Conv2D)]:
        zeroed(layer, slice(0, None, 3), bias=0.25 if layer.use_bias else None)
    small, report = remove_zero_filters(model)
    same(model, small, inputs(model))
    assert small.count_params() <= model.count_params()
    assert (report["units_after"] <= report["units_before"]).all()


def test_sizes_that_a_model_leaves_open_need_a_sample():
    i = keras.Input((None, None, 3))
    first = L.Conv2D(8, 3, name="first")
    model = keras.Model(i, L.Dense(2)(L.GlobalAveragePooling2D()(first(i))))
    zeroed(first, [1])
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype("float32")
    small, _ = remove_zero_filters(model, sample=x)
    assert small.get_layer("first").filters == 7
    assert small.input_shape == (None, None, None, 3)
    same(model, small, x)
    with pytest.raises(ValueError, match="sample"):
        remove_zero_filters(model)


def test_the_model_is_unchanged():
    first = L.Dense(6, name="first")
    model = chain(first, L.Dense(2), shape=(5,))
    zeroed(first, [0, 1])
    before = [np.array(ops.convert_to_numpy(each)) for each in model.weights]
    remove_zero_filters(model)
    for new, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(new), old)
