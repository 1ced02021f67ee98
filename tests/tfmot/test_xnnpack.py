"""`PruneForLatencyOnXNNPack`: which models it accepts, and which layers it prunes."""

import keras
import pytest
from keras import layers

from keras_sac.tfmot.sparsity.keras import (
    ConstantSparsity,
    PruneForLatencyOnXNNPack,
    prune_low_magnitude,
)
from tests.tfmot.networks import Subclassed, begun, compiled


def network(*inside, start=(1, 3, 2, "valid"), end=None, channels=3):
    """A model that begins and ends as it should, with other layers in between."""
    padding, kernel, strides, mode = start
    inputs = keras.Input((16, 16, channels))
    x = layers.ZeroPadding2D(padding)(inputs)
    x = layers.Conv2D(8, kernel, strides=strides, padding=mode, name="start")(x)
    for layer in inside:
        x = layer(x)
    end = end or layers.GlobalAveragePooling2D(keepdims=True)
    x = end(x)
    if len(x.shape) == 2:
        x = layers.Reshape((1, 1, -1))(x)
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(4, 1, name="head")(x)))


def residual():
    """1x1 convolutions, a depthwise one, operations of `keras.ops`, two paths."""
    inputs = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(8, 3, strides=2, name="start")(x)
    x = layers.BatchNormalization()(layers.ReLU(6.0)(x))
    y = layers.Conv2D(16, 1, name="wide")(x)
    y = layers.DepthwiseConv2D(3, strides=2)(layers.ZeroPadding2D(1)(y))
    y = layers.UpSampling2D(interpolation="bilinear")(layers.Activation("sigmoid")(y))
    y = layers.Conv2D(8, 1, name="narrow")(layers.Dropout(0.1)(y))
    x = layers.Multiply()([layers.Add()([x, y]) - y, y])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4)(x))


def test_only_the_one_by_one_convolutions_are_pruned():
    model = residual()
    prune_low_magnitude(
        model, ConstantSparsity(0.5, 1), pruning_policy=PruneForLatencyOnXNNPack(), strict=True
    )
    begun(compiled(model))
    owners = [path.split("/")[-2] for path in model.optimizer.masks]
    assert owners == ["wide", "narrow"]


def test_sequential_models_are_accepted():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2),
            layers.Conv2D(8, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    PruneForLatencyOnXNNPack().ensure_model_supports_pruning(model)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(8, 1),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.DepthwiseConv2D(5, padding="same"),
        layers.LeakyReLU(),
        layers.ELU(),
        layers.Activation("relu6"),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_that_may_come_in_between(layer):
    PruneForLatencyOnXNNPack().ensure_model_supports_pruning(network(layer))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(8, 3),
        layers.Conv2D(8, 1, strides=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        layers.DepthwiseConv2D(3, strides=2),
        layers.DepthwiseConv2D(5, strides=2, padding="same"),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
        layers.BatchNormalization(axis=1),
        layers.UpSampling2D(),
        layers.Activation("gelu"),
        layers.MaxPooling2D(),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_that_may_not(layer):
    with pytest.raises(ValueError, match=rf"'{layer.name}' \({type(layer).__name__}\)"):
        prune_low_magnitude(network(layer), pruning_policy=PruneForLatencyOnXNNPack())


def test_models_nested_in_between_are_checked_inside():
    inner = [layers.Conv2D(8, 1), layers.ReLU(), keras.Sequential([layers.Conv2D(16, 1)])]
    model = network(keras.Sequential(inner))
    prune_low_magnitude(model, ConstantSparsity(0.5, 1), pruning_policy=PruneForLatencyOnXNNPack())
    begun(compiled(model))
    kernels = [v for v in model.trainable_variables if v.name == "kernel" and v.shape[0] == 1]
    assert set(model.optimizer.masks) == {kernel.path for kernel in kernels}
    assert len(kernels) == 3
    inner = keras.Sequential([layers.Conv2D(8, 1), layers.Conv2D(8, 3, name="wide")])
    with pytest.raises(ValueError, match=r"'wide' \(Conv2D\)"):
        prune_low_magnitude(network(inner), pruning_policy=PruneForLatencyOnXNNPack())


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda: network(start=(1, 3, 1, "valid")), r"Each input.*input_layer.*start"),
        (lambda: network(start=(1, 5, 2, "valid")), "Each input"),
        (lambda: network(start=(1, 3, 2, "same")), "Each input"),
        (lambda: network(start=(2, 3, 2, "valid")), "Each input"),
        (lambda: network(channels=4), "Each input"),
        (lambda: network(end=layers.GlobalMaxPooling2D()), r"Each output.*flatten.*head"),
        (Subclassed, "built Sequential or Functional model.*Subclassed, which is not built"),
        (lambda: keras.Sequential([layers.Conv2D(8, 1)]), "not built"),
    ],
)
def test_models_that_are_refused(model, text):
    with pytest.raises(ValueError, match=text):
        PruneForLatencyOnXNNPack().ensure_model_supports_pruning(model())
