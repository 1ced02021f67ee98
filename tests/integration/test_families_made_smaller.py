"""Full rank and no zeros reproduce the models that people use; real levels run on them."""

import keras
import numpy as np
import pytest

from keras_sac import Calibration, convert_to_sac, prune_with_data, recalibrate_batch_norm

pytestmark = pytest.mark.slow

A = keras.applications
_TOKENS = {"vocabulary_size": 50, "num_layers": 1, "hidden_dim": 16, "intermediate_dim": 32}


def hub(name, **options):
    models = pytest.importorskip("keras_hub").models
    return getattr(models, name)(num_heads=2, **options)


def image_model(make, size, **options):
    shape = (size, size, 3)
    common = {"weights": None, "classes": 5, "classifier_activation": None}
    return make(input_shape=shape, **common, **options)


FAMILIES = {
    "MobileNetV2": lambda: image_model(A.MobileNetV2, 32, alpha=0.35),
    "EfficientNetB0": lambda: image_model(A.EfficientNetB0, 32),
    "DenseNet121": lambda: image_model(A.DenseNet121, 32),
    "ResNet50": lambda: image_model(A.ResNet50, 32),
    "BERT": lambda: hub("BertBackbone", max_sequence_length=8, **_TOKENS),
    "GPT-2": lambda: hub("GPT2Backbone", max_sequence_length=8, **_TOKENS),
    "ViT": lambda: hub(
        *("ViTBackbone",),
        image_shape=(16, 16, 3),
        patch_size=(4, 4),
        num_layers=1,
        hidden_dim=16,
        mlp_dim=32,
    ),
}


def inputs_for(model, rng, samples=6):
    def draw(name, tensor):
        shape = (samples, *(8 if size is None else size for size in tensor.shape[1:]))
        if "mask" in name or "segment" in name:
            return np.ones(shape, tensor.dtype)
        if np.issubdtype(tensor.dtype, np.integer):
            return rng.integers(0, 50, shape).astype(tensor.dtype)
        return (255 * rng.random(shape)).astype(tensor.dtype)

    if isinstance(model.input, dict):
        return {name: draw(name, tensor) for name, tensor in model.input.items()}
    return draw("images", model.input)


def outputs(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family(name, rng):
    model = FAMILIES[name]()
    x = inputs_for(model, rng)
    # Random weights alone make activations that vanish or explode.
    recalibrate_batch_norm(model, x)
    expected = outputs(model, x)
    calibration = Calibration.from_data(model, x, max_features=1024, verbose=0)
    options = {"sequential": False, "verbose": 0}
    for same, _ in (
        convert_to_sac(model, calibration, explained_variance=1.0, **options),
        prune_with_data(model, calibration, sparsity=0.0, **options),
    ):
        for one, two in zip(expected, outputs(same, x), strict=True):
            np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())
    for smaller, report in (
        convert_to_sac(model, calibration, parameters=0.7, **options),
        prune_with_data(model, calibration, sparsity=0.6, criterion="wanda", **options),
    ):
        assert report["method"].isin(["low_rank", "unstructured"]).any()
        assert all(np.isfinite(each).all() for each in outputs(smaller, x))
        for one, two in zip(expected, outputs(model, x), strict=True):
            np.testing.assert_array_equal(one, two)
