"""`precompute_projection`: exact results, shared variables, models that are refused."""

import keras
import numpy as np
import pytest

from keras_sac import SACConv2D, SACDense, bases, precompute_projection


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture
def images(rng):
    return rng.uniform(0, 255, size=(60, 4, 5, 2)).astype("float32")


def make(images, **kwargs):
    flat = images.reshape(len(images), -1) / 255
    return keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            SACDense(
                8, bases.pca(flat, rank=6), activation="relu", center=True, name="sac", **kwargs
            ),
            keras.layers.Dropout(0.0),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


def test_the_head_on_the_projections_is_the_model(images):
    model = make(images)
    head, z = precompute_projection(model, images, batch_size=16, verbose=0)
    assert z.shape == (60, 6)
    np.testing.assert_allclose(
        head.predict(z, verbose=0), model.predict(images, verbose=0), atol=1e-6
    )
    flat = images.reshape(60, -1).astype("float64") / 255
    layer = model.get_layer("sac")
    reference = (flat - numpy(layer.mean)) @ numpy(layer.basis)
    np.testing.assert_allclose(z, reference, atol=1e-5)


def test_training_the_head_is_training_the_model(images, rng):
    y = rng.integers(0, 3, 60)
    direct = make(images)
    shared = make(images)
    shared.set_weights(direct.get_weights())
    head, z = precompute_projection(shared, images, verbose=0)
    for model, x in ((direct, images), (head, z)):
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=20, epochs=3, shuffle=False, verbose=0)
    for mine, theirs in zip(shared.weights, direct.weights, strict=True):
        np.testing.assert_allclose(numpy(mine), numpy(theirs), atol=1e-5)
    assert {id(v) for v in head.trainable_variables} == {id(v) for v in shared.trainable_variables}
    # The basis is not carried along.
    assert head.count_params() == shared.count_params() - 40 * 6 - 40


def test_a_functional_model_whose_last_layer_is_the_sac_layer(images):
    inputs = keras.Input(images.shape[1:])
    outputs = SACDense(4, "random", rank=3)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    head, z = precompute_projection(model, images, verbose=0)
    np.testing.assert_allclose(
        head.predict(z, verbose=0), model.predict(images, verbose=0), rtol=1e-4
    )


def test_a_layer_right_at_the_input(rng):
    x = rng.normal(size=(30, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), SACDense(4, bases.pca(x, rank=3))])
    head, z = precompute_projection(model, x, verbose=0)
    np.testing.assert_allclose(head.predict(z, verbose=0), model.predict(x, verbose=0), atol=1e-5)


def test_convolutions(images):
    layer = SACConv2D(6, 3, "pca", rank=4, padding="same", activation="relu")
    layer.adapt(images)
    model = keras.Sequential(
        [keras.Input(images.shape[1:]), layer, keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    head, z = precompute_projection(model, images, verbose=0)
    assert z.shape == (60, 4, 5, 4)
    np.testing.assert_allclose(
        head.predict(z, verbose=0), model.predict(images, verbose=0), rtol=1e-3, atol=1e-2
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(images, policy):
    model = make(images, dtype=policy)
    head, z = precompute_projection(model, images, verbose=0)
    assert z.dtype == ("float16" if policy == "mixed_float16" else "float32")
    np.testing.assert_allclose(
        head.predict(z, verbose=0).astype("float32"),
        model.predict(images, verbose=0).astype("float32"),
        atol=2e-2,
    )


def test_frozen_layers_in_front_are_fixed(images):
    inputs = keras.Input(images.shape[1:])
    backbone = keras.Sequential(
        [keras.layers.Conv2D(3, 2), keras.layers.BatchNormalization()], name="backbone"
    )
    backbone.trainable = False
    hidden = keras.layers.Flatten()(backbone(inputs))
    model = keras.Model(inputs, SACDense(4, "random", rank=3)(hidden))
    head, z = precompute_projection(model, images, verbose=0)
    np.testing.assert_allclose(
        head.predict(z, verbose=0), model.predict(images, verbose=0), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        (lambda: keras.layers.RandomFlip(seed=1), "is random"),
        (lambda: keras.layers.GaussianNoise(0.1), "is random"),
        (lambda: keras.layers.Dropout(0.5), "is random"),
        (lambda: keras.layers.BatchNormalization(), "has trained weights"),
        (
            lambda: keras.layers.BatchNormalization(center=False, scale=False),
            "updates its statistics",
        ),
        (lambda: keras.layers.Conv2D(2, 1), "has trained weights"),
    ],
)
def test_a_front_that_changes_is_refused(images, front, reason):
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            front(),
            keras.layers.Flatten(),
            SACDense(4, "random", rank=3),
        ]
    )
    with pytest.raises(ValueError, match=reason):
        precompute_projection(model, images, verbose=0)


def test_a_trained_basis_is_refused(images):
    model = make(images)
    model.get_layer("sac").unfreeze_basis()
    with pytest.raises(ValueError, match="freeze_basis"):
        precompute_projection(model, images)


def test_a_path_around_the_layer_is_refused(rng):
    inputs = keras.Input((6,))
    hidden = SACDense(6, "random", rank=3)(inputs)
    model = keras.Model(inputs, keras.layers.Add()([hidden, inputs]))
    with pytest.raises(ValueError, match="another path leads around 'sac_dense"):
        precompute_projection(model, rng.normal(size=(8, 6)).astype("float32"), verbose=0)


def test_several_outputs_keep_their_names(rng):
    x = rng.normal(size=(12, 6)).astype("float32")
    inputs = keras.Input((6,))
    code = SACDense(4, "random", rank=3, name="code")(inputs)
    outputs = {"code": code, "label": keras.layers.Dense(2, name="label")(code)}
    model = keras.Model(inputs, outputs)
    head, z = precompute_projection(model, x, verbose=0)
    assert head.output_names == model.output_names
    mine, theirs = head.predict(z, verbose=0), model.predict(x, verbose=0)
    for name in outputs:
        np.testing.assert_allclose(mine[name], theirs[name], atol=1e-5)
    head.compile("sgd", {"code": "mse", "label": "mse"})
    head.fit(z, {"code": np.zeros((12, 4)), "label": np.zeros((12, 2))}, verbose=0)


def test_sequential_models_however_they_were_made(images, tmp_path):
    model = make(images)
    added = keras.Sequential()
    for layer in [keras.Input(images.shape[1:]), *model.layers]:
        added.add(layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(images, verbose=0)
    for each in (added, loaded, keras.Sequential(model.layers)):
        if not each.built:
            each.build((None, *images.shape[1:]))
        head, z = precompute_projection(each, images, verbose=0)
        np.testing.assert_allclose(head.predict(z, verbose=0), expected, atol=1e-6)


def test_operations_and_branches_in_front(rng):
    x = rng.normal(size=(12, 6)).astype("float32")
    inputs = keras.Input((6,))
    left, right = keras.ops.split(inputs * 2.0, 2, axis=-1)
    front = keras.layers.Concatenate()([right, left])
    model = keras.Model(inputs, keras.layers.ReLU()(SACDense(4, "random", rank=3)(front)))
    head, z = precompute_projection(model, x, verbose=0)
    np.testing.assert_allclose(head.predict(z, verbose=0), model.predict(x, verbose=0), atol=1e-5)


def test_a_mask_is_refused(rng):
    model = keras.Sequential(
        [keras.Input((4, 6)), keras.layers.Masking(), SACDense(3, "random", rank=2)]
    )
    with pytest.raises(ValueError, match="mask reaches"):
        precompute_projection(model, rng.normal(size=(8, 4, 6)), verbose=0)


def test_a_layer_that_is_called_twice_is_refused(rng):
    inputs = keras.Input((6,))
    shared = SACDense(3, "random", rank=2)
    model = keras.Model(inputs, keras.layers.Add()([shared(inputs), shared(inputs * 2.0)]))
    with pytest.raises(ValueError, match="called more than once"):
        precompute_projection(model, rng.normal(size=(8, 6)), verbose=0)


class NoisyModel(keras.Model):
    """A subclassed model with a trained weight, not a graph of layers."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return x * self.scale


class HiddenNormalization(keras.layers.Layer):
    """A layer with a layer inside that changes in training."""

    def __init__(self):
        super().__init__()
        self.inside = keras.layers.BatchNormalization(center=False, scale=False)

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x)


@pytest.mark.parametrize(
    ("front", "reason"),
    [(NoisyModel, "has trained weights"), (HiddenNormalization, "updates its statistics")],
)
def test_layers_inside_other_layers_are_checked(rng, front, reason):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, SACDense(3, "random", rank=2)(front()(inputs)))
    with pytest.raises(ValueError, match=reason):
        precompute_projection(model, rng.normal(size=(8, 6)).astype("float32"), verbose=0)


def test_the_head_is_not_saved_by_itself(images, tmp_path):
    head, _ = precompute_projection(make(images), images, verbose=0)
    with pytest.raises(ValueError, match="Save that model"):
        head.save(tmp_path / "head.keras")


def test_models_that_are_refused(rng):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.sac = SACDense(2, "random", rank=2)

        def call(self, x):
            return self.sac(x)

    x = rng.normal(size=(8, 6)).astype("float32")
    model = Subclassed()
    model(x)
    with pytest.raises(ValueError, match=r"layer.project\(x\)"):
        precompute_projection(model, x)
    with pytest.raises(ValueError, match="not built"):
        precompute_projection(keras.Sequential([SACDense(2, "random", rank=2)]), x)
    plain = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no SAC layer"):
        precompute_projection(plain, x)
    inner = keras.Sequential([keras.Input((6,)), SACDense(2, "random", rank=2, name="deep")])
    with pytest.raises(ValueError, match="deep.*nested models"):
        precompute_projection(keras.Sequential([keras.Input((6,)), inner]), x)
    two = keras.Model([a := keras.Input((6,)), b := keras.Input((6,))], keras.layers.Add()([a, b]))
    with pytest.raises(ValueError, match="one input.*with 2 inputs"):
        precompute_projection(two, [x, x])


def test_targets_select_one_sac_layer(rng):
    x = rng.normal(size=(12, 6)).astype("float32")
    first = SACDense(5, "random", rank=3, name="first", trainable=False)
    second = SACDense(4, "random", rank=2, name="second")
    model = keras.Sequential([keras.Input((6,)), first, second])
    expected = model.predict(x, verbose=0)
    for targets in (second, "second", ["sec.nd"]):
        head, z = precompute_projection(model, x, targets=targets, verbose=0)
        assert z.shape == (12, 2)
        np.testing.assert_allclose(head.predict(z, verbose=0), expected, atol=1e-5)
    assert precompute_projection(model, x, verbose=0)[1].shape == (12, 3)
    with pytest.raises(ValueError, match="must select one SAC layer.*'first', 'second'"):
        precompute_projection(model, x, targets="first|second")
    with pytest.raises(ValueError, match="match nothing that can be projected.*'third'"):
        precompute_projection(model, x, targets="third")
    with pytest.raises(ValueError, match="match nothing"):
        precompute_projection(model, x, targets=SACDense(2, "random", rank=2))
    with pytest.raises(ValueError, match="`verbose` must be one of"):
        precompute_projection(model, x, verbose=3)


def test_a_layer_without_a_basis_yet(images):
    model = keras.Sequential(
        [keras.Input(images.shape[1:]), keras.layers.Flatten(), SACDense(4, "pca", rank=3)]
    )
    with pytest.raises(ValueError, match="has no basis yet"):
        precompute_projection(model, images)
