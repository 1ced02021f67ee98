"""`merge_sac`: the same outputs from stock layers, and the report of what was merged."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sac import SACConv2D, SACDense, SACEinsumDense, bases, merge_sac
from keras_sac.layers import SubspaceLayer


def subspace_model():
    inner = keras.Sequential(
        [keras.Input((12,)), SACDense(9, "random", rank=8, activation="tanh", name="inner_sac")]
    )
    inputs = keras.Input((6, 6, 2))
    hidden = SACConv2D(3, 3, basis="random", rank=15, name="conv")(inputs)
    hidden = layers.Reshape((16, 3))(hidden)
    hidden = SACEinsumDense("abc,cd->abd", (None, 4), "random", rank=1, name="einsum")(hidden)
    hidden = layers.Flatten()(hidden)
    hidden = SACDense(12, "random", rank=5, name="wide")(hidden)
    return keras.Model(inputs, inner(hidden))


@pytest.mark.parametrize("merge", ["always", "cheaper", "never"])
def test_outputs_are_those_of_the_subspace_model(merge, rng, tmp_path):
    model = subspace_model()
    model.compile("adam", "mse")
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(3, 6, 6, 2)).astype("float32")
    before = model.predict(x, verbose=0)
    merged, report = merge_sac(model, merge=merge)
    assert report["merged"].sum() == {"always": 4, "cheaper": 2, "never": 0}[merge]
    assert not any(isinstance(each, SubspaceLayer) for each in merged._flatten_layers())
    np.testing.assert_allclose(merged.predict(x, verbose=0), before, atol=1e-4)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)
    assert any(isinstance(each, SubspaceLayer) for each in model._flatten_layers())
    merged.save(tmp_path / "merged.keras")
    again = keras.models.load_model(tmp_path / "merged.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), before, atol=1e-4)


class WithoutConfig(layers.Layer):
    """A layer without a configuration."""

    def __init__(self, units):
        super().__init__()
        self.inner = layers.Dense(units)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, inputs):
        return self.inner(inputs)


def test_what_no_configuration_can_make_again_stays(rng):
    inputs = keras.Input((6,))
    hidden = SACDense(6, "random", rank=3)(inputs) + inputs
    hidden = WithoutConfig(6)(layers.Lambda(lambda x: x * 2.0)(hidden))
    hidden = keras.ops.reshape(hidden, (-1, 2, 3))[:, 0] - hidden[:, 3:]
    model = keras.Model(inputs, SACDense(4, "random", rank=2)(hidden))
    x = rng.normal(size=(5, 6)).astype("float32")
    merged, report = merge_sac(model)
    assert report["merged"].all()
    np.testing.assert_allclose(merged.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert not {id(w) for w in merged.weights} & {id(w) for w in model.weights}


def test_the_mean_goes_into_the_bias(rng):
    x = rng.normal(5.0, 1.0, size=(50, 7)).astype("float32")
    basis = bases.pca(x, 4)
    model = keras.Sequential([keras.Input((7,)), SACDense(3, basis, center=True, use_bias=False)])
    merged, _ = merge_sac(model)
    assert merged.layers[0].use_bias
    np.testing.assert_allclose(merged.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-4)


def test_only_where_it_is_cheaper():
    merged, report = merge_sac(subspace_model(), merge="cheaper")
    report = report.set_index("layer")
    # Sizes of basis and learner, and of the kernel.
    expected = {
        "conv": (18 * 15 + 15 * 3, 18 * 3, True),
        "einsum": (3 * 1 + 1 * 4, 3 * 4, False),
        "wide": (64 * 5 + 5 * 12, 64 * 12, False),
        "inner_sac": (12 * 8 + 8 * 9, 12 * 9, True),
    }
    for name, (factored, kernel, chosen) in expected.items():
        row = report.loc[name]
        assert (row["factored_macs"], row["merged_macs"], row["merged"]) == (
            factored,
            kernel,
            chosen,
        )
        assert bool(row["reason"]) != chosen
    assert [type(each) for each in merged.get_layer("wide").layers] == [layers.Dense] * 2
    assert type(merged.get_layer("conv")) is layers.Conv2D


def test_factors_that_see_more_positions_cost_more():
    # With stride 4, the 1x1 basis sees all 81 positions, and the learner 4.
    layer = SACConv2D(8, 3, "random", rank=2, reading="channels", strides=4, name="thin")
    model = keras.Sequential([keras.Input((9, 9, 4)), layer])
    _, report = merge_sac(model, merge="cheaper")
    (row,) = report.to_dict("records")
    assert row["factored_macs"] == round(81 / 4 * 4 * 2 + 2 * 9 * 8)
    assert row["factored_macs"] > row["merged_macs"] == 9 * 4 * 8
    # The kernel would take fewer multiplications, and more memory.
    assert (row["merged"], row["reason"]) == (False, "the kernel would have more nonzero weights")


def test_zeros_of_a_pruned_learner_are_kept():
    model = keras.Sequential([keras.Input((4,)), SACDense(16, "random", rank=4, name="sac")])
    assert merge_sac(model, merge="cheaper")[1]["merged"].tolist() == [True]
    # Of which 3 of 4 are zero: 16 + 16 numbers that are not, against 64 of a kernel of all rows.
    learner = np.concatenate([np.eye(4)] * 4, axis=1)
    model.layers[0].learner.assign(learner)
    merged, report = merge_sac(model, merge="cheaper")
    assert report["reason"].tolist() == ["the kernel would have more nonzero weights"]
    assert report["factored_nonzeros"].tolist() == [32]
    assert report["merged_nonzeros"].tolist() == [64]
    np.testing.assert_array_equal(merged.layers[0].layers[1].get_weights()[0], learner)


def test_inside_a_composite_layer_nothing_is_merged(rng):
    model = keras.Sequential(
        [keras.Input((5, 4)), layers.TimeDistributed(SACDense(3, "random", rank=4))]
    )
    merged, report = merge_sac(model)
    assert report["reason"].tolist() == ["inside a composite layer, left as it is"]
    x = rng.normal(size=(2, 5, 4)).astype("float32")
    np.testing.assert_allclose(merged.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_model_without_subspace_layers_gives_a_copy_and_an_empty_table():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    merged, report = merge_sac(model)
    assert merged is not model
    assert len(report) == 0
    assert "reason" in report.columns


class Own(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("make", "merge", "message"),
    [
        (subspace_model, "sometimes", r"`merge` must be one of .* Received: merge='sometimes'"),
        (Own, "always", "needs a Functional or Sequential model.*Received: Own"),
        (lambda: keras.Sequential([layers.Dense(2)]), "always", "has no weights yet"),
        (
            lambda: keras.Sequential([keras.Input((4,)), SACDense(2, "pca", rank=2)]),
            "always",
            "basis",
        ),
    ],
)
def test_bad_input(make, merge, message):
    with pytest.raises(ValueError, match=message):
        merge_sac(make(), merge=merge)
