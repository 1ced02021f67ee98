"""Tests of the SAC convolutions only: patches, data formats, errors."""

import keras
import numpy as np
import pytest

from keras_sac import bases
from keras_sac._model._patches import extract_patches
from keras_sac.layers import SACConv1D, SACConv2D, SACConv3D
from tests.marks import needs_channels_first, needs_empty_convolutions


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("kernel", "strides", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1)),
        ((2, 3), (2, 3), (1, 1)),
        ((3, 2), (1, 1), (2, 3)),
        ((4, 1), (3, 2), (1, 1)),
    ],
)
def test_patches_times_kernel_is_the_convolution(rng, padding, kernel, strides, dilation):
    x = rng.normal(size=(2, 9, 8, 3)).astype("float32")
    filters = rng.normal(size=(*kernel, 3, 5)).astype("float32")
    patches = extract_patches(x, kernel, strides, dilation, padding)
    reference = keras.ops.conv(
        x, filters, strides=list(strides), padding=padding, dilation_rate=list(dilation)
    )
    got = (patches @ filters.reshape(-1, 5)).reshape(reference.shape)
    np.testing.assert_allclose(got, numpy(reference), atol=1e-4)
    chosen = rng.permutation(len(patches))[: len(patches) // 2]
    some = extract_patches(x, kernel, strides, dilation, padding, lambda count: chosen)
    np.testing.assert_array_equal(some, patches[chosen])


@needs_channels_first
@pytest.mark.parametrize("filters", [4, 5])
def test_channels_first_is_channels_last_transposed(rng, filters):
    # With 5 filters the channels are as many as the columns: nothing may mistake one for the other.
    x = rng.normal(size=(4, 8, 7, 3)).astype("float32")
    first_x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    last, first = (
        SACConv2D(filters, 3, "pca", rank=2, center=True, data_format=data_format)
        for data_format in ("channels_last", "channels_first")
    )
    last.adapt(x)
    first.adapt(first_x)
    np.testing.assert_allclose(numpy(first.basis), numpy(last.basis), atol=1e-5)
    last.bias.assign(rng.normal(size=filters))
    first.set_weights(last.get_weights())
    assert first.compute_output_shape((None, 3, 8, 7)) == (None, filters, 6, 5)
    got = np.moveaxis(numpy(first(first_x)), 1, -1)
    np.testing.assert_allclose(got, numpy(last(x)), atol=1e-5)
    merged = first.to_dense()
    assert merged.data_format == "channels_first"
    for mine, theirs in zip(merged.get_weights(), last.to_dense().get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_adapt_in_small_batches_is_adapt_at_once(rng):
    x = rng.normal(size=(10, 8, 8, 2)).astype("float32")
    one, many = (SACConv2D(4, 3, "pca", rank=5) for _ in range(2))
    one.adapt(x)
    many.adapt(x, batch_size=3)
    np.testing.assert_allclose(numpy(one.basis), numpy(many.basis), atol=1e-5)


def test_adapt_holds_few_patches_at_once(rng, monkeypatch):
    x = rng.normal(size=(10, 8, 8, 2)).astype("float32")
    whole = SACConv2D(4, 3, "pca", rank=5)
    whole.adapt(x)
    monkeypatch.setattr("keras_sac.layers._conv_layer._PATCH_ENTRIES", 3000)
    layer = SACConv2D(4, 3, "pca", rank=5)
    assert layer.samples_at_once(x) == 2
    layer.adapt(x)
    np.testing.assert_allclose(numpy(layer.basis), numpy(whole.basis), atol=1e-5)


def test_automatic_names_of_stock_layers_are_left_alone():
    before = int(keras.layers.Conv2D(2, 3).name.removeprefix("conv2d").strip("_") or 0)
    layer = SACConv2D(2, 3, "random", rank=2)
    layer(keras.Input((8, 8, 1)))
    assert keras.layers.Conv2D(2, 3).name == f"conv2d_{before + 1}"


def test_masks_end_at_a_convolution_as_in_keras():
    inputs = keras.Input((8, 3))
    masked = keras.layers.Masking()(inputs)
    for layer in (keras.layers.Conv1D(4, 3), SACConv1D(4, 3, "random", rank=2)):
        assert not layer.supports_masking
    with pytest.warns(UserWarning, match="does not support masking"):
        hidden = SACConv1D(4, 3, "random", rank=2)(masked)
    assert keras.layers.GlobalAveragePooling1D()(hidden).shape == (None, 4)


def test_dct_in_three_dimensions():
    layer = SACConv3D(4, 2, "dct", rank=5)
    layer.build((None, 6, 6, 6, 3))
    np.testing.assert_array_equal(numpy(layer.basis), bases.dct((2, 2, 2, 3), 5).matrix)


def test_dct_filters_are_made_for_the_patch():
    layer = SACConv2D(4, 3, "dct", rank=5)
    layer.build((None, 8, 8, 2))
    np.testing.assert_array_equal(numpy(layer.basis), bases.dct((3, 3, 2), 5).matrix)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SACConv2D(0, 3, "random", rank=2), "filters"),
        (lambda: SACConv2D(4, (3, 3, 3), "random", rank=2), "kernel_size"),
        (lambda: SACConv2D(4, 3, "random", rank=2, padding="causal"), "padding"),
        (lambda: SACConv2D(4, 3, "random", rank=2, strides=2, dilation_rate=2), "strides"),
        (lambda: SACConv1D(4, 3, "pca"), "`rank` must be"),
        (lambda: SACConv2D(4, 3, "random", rank=28).build((None, 8, 8, 3)), "1 and 27.*rank=28"),
        (lambda: SACConv2D(4, 3, np.eye(9)[:, :2]).build((None, 8, 8, 3)), "width 27.*width 9"),
        (lambda: SACConv3D(4, 3, "pca", rank=2).adapt(np.zeros((4, 8, 8, 1))), "5 axes"),
        (
            lambda: SACConv2D(4, 3, "pca", rank=2).adapt(np.zeros((4, 2, 8, 1))),
            "smaller than the kernel",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@needs_empty_convolutions
@pytest.mark.parametrize("rank", [3, 17])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_no_rows(rng, padding, rank):
    """As `Conv2D`; rank 17 multiplies with the merged kernel."""
    x = rng.normal(size=(8, 6, 6, 2)).astype("float32")
    layer = SACConv2D(4, 3, "pca", rank=rank, padding=padding, center=True)
    layer.adapt(x, verbose=0)
    model = keras.Sequential([keras.Input((6, 6, 2)), layer])
    stock = keras.layers.Conv2D(4, 3, padding=padding)
    expected = tuple(stock(x[:0]).shape)
    assert tuple(layer(x[:0]).shape) == model.predict_on_batch(x[:0]).shape == expected
