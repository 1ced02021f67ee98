"""One-shot pruning, against NumPy."""

import keras
import numpy as np
import pytest

from keras_sac import (
    ConstantSparsity,
    PruningOptimizer,
    filter_sparsity,
    prune_by_threshold,
    prune_filters_by_norm,
    prune_to_sparsity,
    sparsity,
)
from keras_sac.pruning import Block, Random


def cnn(seed=0):
    rng = np.random.default_rng(seed)
    built = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(5, 3, name="conv"),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2DTranspose(7, 2, name="transposed"),
            keras.layers.Flatten(),
            keras.layers.Dense(6, name="dense"),
        ]
    )
    for variable in built.trainable_variables:
        variable.assign(rng.normal(0.0, 0.1, variable.shape))
    return built


def kernels(built):
    names = ("conv", "transposed", "dense")
    return [keras.ops.convert_to_numpy(built.get_layer(name).kernel) for name in names]


def test_threshold():
    built = cnn()
    before = kernels(built)
    others = keras.ops.convert_to_numpy(built.get_layer("depthwise").kernel)
    table = prune_by_threshold(built, 0.05)
    for old, new in zip(before, kernels(built), strict=True):
        np.testing.assert_array_equal(new, np.where(np.abs(old) >= 0.05, old, 0.0))
    np.testing.assert_array_equal(
        others, keras.ops.convert_to_numpy(built.get_layer("depthwise").kernel)
    )
    zeros = [int((np.abs(old) < 0.05).sum()) for old in before]
    assert table["zeros"].tolist() == zeros
    assert table.attrs["total"]["zeros"] == sum(zeros)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_filters(norm):
    built = cnn()
    before = kernels(built)
    axes = [(0, 1, 2), (0, 1, 3), (0,)]
    order = {"l1": 1, "l2": 2}[norm]
    norms = [
        (np.abs(k.astype("float64")) ** order).sum(axis=a) ** (1 / order)
        for k, a in zip(before, axes, strict=True)
    ]
    threshold = float(np.median(np.concatenate(norms)))
    table = prune_filters_by_norm(built, threshold, norm=norm)
    for old, new, n, a in zip(before, kernels(built), norms, axes, strict=True):
        keep = np.expand_dims(n >= threshold, a)
        np.testing.assert_array_equal(new, old * keep)
    pruned = [int((n < threshold).sum()) for n in norms]
    assert sum(pruned) > 3
    assert table["zero_filters"].tolist() == pruned
    assert table["filters"].tolist() == [5, 7, 6]
    total = table.attrs["total"]
    assert (total["zero_filters"], total["filters"]) == (sum(pruned), 18)


@pytest.mark.parametrize("distribution", ["uniform", "global"])
def test_to_sparsity(distribution):
    built = cnn()
    before = kernels(built)
    prune_to_sparsity(built, 0.7, distribution=distribution)
    whole = np.sort(np.abs(np.concatenate([k.ravel() for k in before])))[::-1]
    for old, new in zip(before, kernels(built), strict=True):
        size = np.sort(np.abs(old.ravel()))[::-1]
        ranked = whole if distribution == "global" else size
        k = round(ranked.size * float(np.float32(1) - np.float32(0.7)))
        np.testing.assert_array_equal(new, np.where(np.abs(old) >= ranked[k - 1], old, 0.0))


def test_random_is_the_same_everywhere():
    built = cnn()
    prune_to_sparsity(built, 0.5, criterion=Random(seed=0), targets="dense")
    index = [v.path for v in built.weights].index(built.get_layer("dense").kernel.path)
    order = np.random.default_rng([0, index]).random(kernels(built)[2].shape, dtype="float32")
    np.testing.assert_array_equal(kernels(built)[2] != 0, order >= np.median(order))


def test_random_by_name_follows_the_seed_of_keras():
    masks = []
    for seed in (7, 7, 8):
        built = cnn()
        keras.utils.set_random_seed(seed)
        prune_to_sparsity(built, 0.5, criterion="random", targets="dense")
        masks.append(kernels(built)[2] != 0)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_fine_tuning_keeps_what_was_pruned(rng):
    built = cnn()
    prune_filters_by_norm(built, 3.0, targets="dense")
    prune_by_threshold(built, 0.05, targets=["conv", built.get_layer("transposed")])
    zeros = [k == 0 for k in kernels(built)]
    built.compile(PruningOptimizer("adam", schedule=None), "mse")
    x = rng.normal(size=(32, 8, 8, 2))
    built.fit(x, rng.normal(size=(32, 6)), batch_size=8, verbose=0)
    for before, after in zip(zeros, kernels(built), strict=True):
        np.testing.assert_array_equal(before, after == 0)


def test_measures_see_nested_models_and_frozen_layers():
    inner = cnn()
    inner.trainable = False
    outer = keras.Sequential([keras.Input((8, 8, 2)), inner, keras.layers.Dense(3, name="head")])
    prune_to_sparsity(outer, 0.5)
    table = sparsity(outer)
    assert len(table) == 4
    assert table.attrs["total"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert filter_sparsity(outer)["filters"].tolist() == [5, 7, 6, 3]


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        (lambda m: prune_by_threshold(m, -1.0), "threshold"),
        (lambda m: prune_by_threshold(m, float("nan")), "threshold"),
        (lambda m: prune_filters_by_norm(m, 1.0, norm="l3"), "norm"),
        (lambda m: prune_to_sparsity(m, 1.0), r"\[0, 1\)"),
        (lambda m: prune_to_sparsity(m, 80), r"Did you mean 0.8\?"),
        (lambda m: prune_to_sparsity(m, 0.5, criterion="obd"), "gradients"),
        (lambda m: prune_to_sparsity(m, 0.5, pattern=Block((2, 2))), "does not fit"),
        (lambda m: prune_by_threshold(m, 0.1, targets="nowhere"), "match nothing"),
    ],
)
def test_bad_input_changes_nothing(prune, message):
    built = cnn()
    before = built.get_weights()
    with pytest.raises(ValueError, match=message):
        prune(built)
    for old, new in zip(before, built.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "prune",
    [
        lambda m: prune_by_threshold(m, 0.1),
        lambda m: prune_filters_by_norm(m, 0.1),
        lambda m: prune_to_sparsity(m, 0.5),
    ],
)
def test_nan_is_an_error(prune):
    built = cnn()
    weights = built.get_weights()
    weights[0][0, 0, 0, 0] = np.nan
    built.set_weights(weights)
    with pytest.raises(ValueError, match=r"NaN.*Received.*conv/kernel.*unchanged"):
        prune(built)
    np.testing.assert_array_equal(built.get_weights()[0], weights[0])


def test_a_model_without_weights():
    with pytest.raises(ValueError, match="no weights yet"):
        sparsity(keras.Sequential([keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="no kernel"):
        sparsity(keras.Sequential([keras.Input((3,)), keras.layers.ReLU()]))
    with pytest.raises(ValueError, match=r"keras\.Model"):
        sparsity("model")


def test_a_kernel_keeps_its_largest_filter_and_says_so():
    built = cnn()
    before = built.layers[0].get_weights()[0]
    with pytest.warns(UserWarning, match=r"conv/kernel \(largest norm .*Choose a smaller"):
        prune_filters_by_norm(built, 1000.0, targets=["conv", "transposed"])
    conv, _, transposed = [w for w in built.get_weights() if w.ndim == 4]
    kept = np.abs(conv).sum((0, 1, 2)) > 0
    np.testing.assert_array_equal(np.flatnonzero(kept), [np.abs(before).sum((0, 1, 2)).argmax()])
    # Output channels of a transposed convolution are on another axis.
    assert (np.abs(transposed).sum((0, 1, 3)) > 0).sum() == 1


class Experts(keras.layers.Layer):
    """A layer of a user, with two matrices in one variable of an unknown name."""

    def build(self, input_shape):
        self.experts = self.add_weight(shape=(2, input_shape[-1], 6), name="experts")

    def call(self, inputs):
        return keras.ops.sum(keras.ops.einsum("bi,eio->beo", inputs, self.experts), axis=1)


def test_tables_say_what_they_leave_out():
    built = keras.Sequential([keras.Input((8,)), Experts(), keras.layers.Dense(3)])
    for report in (sparsity, filter_sparsity, lambda m: prune_to_sparsity(m, 0.5)):
        with pytest.warns(
            UserWarning, match=r"leaves out 96 of 114 weights: .*experts \(2, 8, 6\)"
        ):
            table = report(built)
        assert len(table) == 1
        skipped = {path.split("/")[-1]: why for path, why in table.attrs["skipped"].items()}
        assert set(skipped) == {"experts", "bias"}
        assert "names of kernels" in skipped["experts"]


@pytest.mark.parametrize("value", [1.0, 1, 100])
def test_no_hint_at_a_number_that_is_not_valid_either(value):
    with pytest.raises(ValueError, match=r"in \[0, 1\)") as caught:
        prune_to_sparsity(cnn(), value)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no float64 by default")
@pytest.mark.parametrize("criterion", ["magnitude", "obd", "obs"])
def test_float64_stays_float64(criterion):
    values = np.random.default_rng(0).normal(size=(6, 5)) * 1e-60
    built = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, dtype="float64")])
    built.set_weights([values, np.zeros(5)])
    if criterion == "magnitude":
        prune_to_sparsity(built, 0.5)
    else:
        optimizer = PruningOptimizer("sgd", ConstantSparsity(0.5, 1), criterion=criterion)
        optimizer.build(built.trainable_variables)
    kernel = built.get_weights()[0]
    assert kernel.dtype == np.float64
    kept = kernel != 0
    assert kept.sum() == 15
    np.testing.assert_array_equal(kernel[kept], values[kept])
    assert np.abs(values[kept]).min() > np.abs(values[~kept]).max()
