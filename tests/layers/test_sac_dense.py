"""Tests of `SACDense` only: arguments, kinds of basis, errors."""

import keras
import numpy as np
import pytest

from keras_sac import bases
from keras_sac.bases import Basis
from keras_sac.layers import SACDense


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def data(rng, n=200, width=12):
    return (rng.normal(size=(n, width)) * np.linspace(1, 4, width)).astype("float32")


def test_the_example_of_dense_with_an_array_as_basis(rng):
    matrix = rng.normal(size=(12, 3))
    layer = SACDense(5, matrix, activation="relu")
    x = data(rng)
    y = numpy(layer(x))
    reference = np.maximum(x.astype("float64") @ matrix @ numpy(layer.learner), 0)
    np.testing.assert_allclose(y, reference, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_kernel_in_the_subspace(rng):
    # dLoss/dL = Bᵀ dLoss/dW: one step of SGD moves the learner along it.
    x, y = data(rng, 64), rng.normal(size=(64, 5)).astype("float32")
    layer = SACDense(5, bases.pca(x, rank=4), use_bias=False)
    model = keras.Sequential([keras.Input((12,)), layer])
    learner = numpy(layer.learner).astype("float64")
    basis = numpy(layer.basis).astype("float64")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(x, y, batch_size=64, epochs=1, verbose=0)
    residual = x @ basis @ learner - y
    gradient = basis.T @ (x.T @ (2 * residual / residual.size))
    np.testing.assert_allclose(numpy(layer.learner), learner - 0.1 * gradient, atol=1e-5)


def test_rank_keeps_the_leading_columns(rng):
    basis = bases.pca(data(rng), rank=6)
    layer = SACDense(3, basis, rank=2)
    layer.build((None, 12))
    np.testing.assert_array_equal(numpy(layer.basis), basis.matrix[:, :2])


def test_random_is_the_same_matrix_for_a_seed_and_orthonormal():
    layers = [SACDense(3, "random", rank=4, seed=seed) for seed in (1, 1, 2)]
    for layer in layers:
        layer.build((None, 10))
    first, second, third = (numpy(layer.basis) for layer in layers)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 0.1
    np.testing.assert_allclose(first.T @ first, np.eye(4), atol=1e-6)
    np.testing.assert_array_equal(first, bases.random_orthogonal(10, 4, 1).matrix)


def test_random_seeds_follow_the_global_seed():
    def draw():
        keras.utils.set_random_seed(5)
        return SACDense(3, "random", rank=4).seed

    assert draw() == draw()
    assert SACDense(3, "random", rank=4).seed != draw()


def test_dct_is_made_at_build_time():
    layer = SACDense(3, "dct", rank=4)
    layer.build((None, 10))
    np.testing.assert_array_equal(numpy(layer.basis), bases.dct((10,), 4).matrix)


def test_masks_pass_through():
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(10, 8, mask_zero=True),
            SACDense(6, "random", rank=2),
            keras.layers.GlobalAveragePooling1D(),
        ]
    )
    padded = np.array([[1, 2, 0, 0], [1, 2, 3, 4]])
    short = np.array([[1, 2], [1, 2]])
    tail = keras.Sequential(model.layers)
    np.testing.assert_allclose(
        model.predict(padded, verbose=0)[0], tail.predict(short, verbose=0)[0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "`units` must be an integer >= 1. Received: units=0"),
        ({"units": 2.5}, "`units` must be an integer >= 1"),
        ({"basis": "pcs", "rank": 2}, "one of 'random', 'dct', 'pca'"),
        ({"basis": "pca"}, "`rank` must be .* Received: rank=None"),
        ({"basis": "pca", "rank": 0}, "`rank` must be an integer >= 1. Received: rank=0"),
        ({"basis": "pca", "rank": 2.5}, "must be an integer >= 1. Received: rank=2.5"),
        ({"basis": np.ones((3, 4))}, "transpose"),
        ({"basis": np.full((3, 2), np.nan)}, "finite"),
        ({"basis": np.ones(3)}, "shape"),
        ({"basis": np.eye(4)[:, :2], "rank": 3}, "between 1 and 2"),
        ({"basis": np.eye(4)[:, :2], "center": True}, "mean of the data"),
        ({"seed": -1}, "`seed` must be an integer >= 0. Received: seed=-1"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"units": 3, "basis": np.eye(4)[:, :2], **arguments}
    with pytest.raises(ValueError, match=message):
        SACDense(**arguments)


def test_rank_above_the_input_width():
    with pytest.raises(ValueError, match="between 1 and 8.*Received: rank=9"):
        SACDense(3, "random", rank=9).build((None, 8))


def test_basis_of_another_width(rng):
    layer = SACDense(3, bases.pca(data(rng), rank=2))
    with pytest.raises(ValueError, match="must fit inputs of width 8.*inputs of width 12"):
        layer(np.zeros((2, 8), "float32"))


def test_wrong_width_after_build(rng):
    layer = SACDense(3, bases.pca(data(rng), rank=2))
    layer(data(rng))
    with pytest.raises(ValueError, match="expected axis -1"):
        layer(np.zeros((2, 8), "float32"))


def test_used_before_adapt():
    layer = SACDense(3, "pca", rank=2)
    with pytest.raises(ValueError, match=r"has no basis yet.*adapt"):
        layer(np.ones((4, 8), "float32"))
    with pytest.raises(ValueError, match="has no basis yet"):
        layer.to_dense()


def test_trained_before_adapt():
    model = keras.Sequential([keras.Input((8,)), SACDense(3, "pca", rank=2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no basis yet"):
        model.fit(np.ones((4, 8), "float32"), np.ones((4, 3), "float32"), verbose=0)


def test_project_and_combine_before_there_is_anything():
    layer = SACDense(3, "pca", rank=2)
    for step in (layer.project, layer.combine):
        with pytest.raises(ValueError, match="not built yet"):
            step(np.ones((4, 8), "float32"))
    layer.build((None, 8))
    with pytest.raises(ValueError, match="has no basis yet"):
        layer.project(keras.ops.ones((4, 8)))


def test_an_unknown_width():
    with pytest.raises(ValueError, match="needs inputs of known width"):
        SACDense(3, "random", rank=2)(keras.Input((None,)))


def test_weights_set_by_hand_count_as_a_basis(rng):
    x = data(rng)
    trained = SACDense(3, bases.pca(x, rank=2))
    trained(x)
    layer = SACDense(3, "pca", rank=2)
    layer.build((None, 12))
    layer.set_weights(trained.get_weights())
    np.testing.assert_array_equal(numpy(layer(x)), numpy(trained(x)))


def test_properties_of_a_layer_that_is_not_built():
    layer = SACDense(3, "random", rank=2)
    with pytest.raises(ValueError, match="not built yet"):
        _ = layer.kernel
    with pytest.raises(ValueError, match="not built yet"):
        layer.get_basis()


def test_regularizer_and_constraint_act_on_the_learner(rng):
    layer = SACDense(
        3,
        "random",
        rank=2,
        learner_regularizer=keras.regularizers.L1(0.5),
        learner_constraint="non_neg",
    )
    layer.build((None, 8))
    assert float(numpy(layer.losses[0])) == pytest.approx(
        0.5 * np.abs(numpy(layer.learner)).sum(), rel=1e-5
    )
    assert isinstance(layer.learner.constraint, keras.constraints.NonNeg)


def test_get_basis_returns_what_was_given(rng):
    basis = bases.pca(data(rng), rank=3)
    layer = SACDense(3, basis, center=True)
    layer.build((None, 12))
    again = layer.get_basis()
    assert isinstance(again, Basis)
    assert again.kind == "pca"
    np.testing.assert_array_equal(again.matrix, basis.matrix)
    np.testing.assert_array_equal(again.mean, basis.mean)


def test_float64_where_the_backend_has_it(rng):
    # JAX has no float64 unless it is switched on for the whole process.
    policy = "float32" if keras.backend.backend() == "jax" else "float64"
    x = data(rng).astype(policy)
    layer = SACDense(3, bases.pca(x, rank=4), dtype=policy)
    y = layer(keras.ops.convert_to_tensor(x, dtype=policy))
    assert keras.backend.standardize_dtype(y.dtype) == policy
    # Keras' own Dense multiplies in float32 on torch, whatever the policy: no tighter bound.
    reference = x @ numpy(layer.basis).astype("float64") @ numpy(layer.learner)
    np.testing.assert_allclose(numpy(y), reference, rtol=1e-4, atol=1e-4)
