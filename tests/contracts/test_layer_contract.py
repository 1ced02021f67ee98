"""Contract of all SAC layers: each row of the table passes these tests."""

import inspect
import json
import math

import keras
import numpy as np
import pytest

from keras_sac.bases import Basis
from keras_sac.layers import SubspaceLayer
from tests.contracts.layer_table import ROWS

BATCH = 5

with_center = pytest.mark.parametrize("row", [row for row in ROWS if row.has_center], ids=str)
with_and_without_center = pytest.mark.parametrize(
    ("row", "center"),
    [(row, center) for row in ROWS for center in ([False, True] if row.has_center else [False])],
    ids=str,
)


@pytest.fixture(params=ROWS, ids=str)
def row(request):
    return request.param


@pytest.fixture
def basis(row, rng):
    """A basis away from the trivial case: not orthonormal, with a mean."""
    matrix = rng.normal(size=(row.in_dim, row.rank)) / np.sqrt(row.in_dim)
    return Basis(matrix, mean=rng.normal(size=row.in_dim))


@pytest.fixture
def x(row, rng):
    return rng.normal(size=(BATCH, *row.input_shape)).astype("float32")


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def stock_with(row, kernel, bias, activation=None):
    stock = row.stock(activation=activation)
    stock.build((None, *row.input_shape))
    stock.set_weights([kernel, bias])
    return stock


def randomized(layer, rng):
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    return layer


def test_it_computes_the_stock_layer_with_the_factored_kernel(row, basis, x, rng):
    layer = row.make(basis, activation="tanh")
    layer.build((None, *row.input_shape))
    randomized(layer, rng)
    stock = stock_with(row, numpy(layer.kernel), numpy(layer.bias), "tanh")
    assert layer.is_factored(keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(numpy(layer(x)), numpy(stock(x)), atol=2e-6)


def test_the_merged_order_computes_the_same(row, rng, x):
    # At full rank one product is cheaper than two.
    basis = Basis(rng.normal(size=(row.in_dim, row.in_dim)), mean=rng.normal(size=row.in_dim))
    layer = row.make(basis, center=row.has_center)
    layer.build((None, *row.input_shape))
    randomized(layer, rng)
    tensor = keras.ops.convert_to_tensor(np.repeat(x, 20, axis=0))
    assert not layer.is_factored(tensor)
    factored = layer.combine(layer.project(tensor))
    np.testing.assert_allclose(numpy(layer(tensor)), numpy(factored), rtol=1e-4, atol=1e-4)


def test_kernel_is_basis_times_learner(row, basis, rng):
    layer = row.make(basis)
    layer.build((None, *row.input_shape))
    product = basis.matrix.astype("float64") @ numpy(layer.learner).astype("float64")
    kernel = numpy(layer.kernel)
    stock = row.stock()
    stock.build((None, *row.input_shape))
    assert kernel.shape == tuple(stock.kernel.shape)
    # The same numbers; which axis is which is what the comparison with the stock layer tells.
    np.testing.assert_allclose(np.sort(kernel.ravel()), np.sort(product.ravel()), atol=1e-6)


@with_center
def test_center_subtracts_the_mean(row, basis, x, rng):
    layer = row.make(basis, center=True)
    layer.build((None, *row.input_shape))
    randomized(layer, rng)
    plain = row.make(basis)
    plain.build((None, *row.input_shape))
    plain.learner.assign(layer.learner)
    plain.bias.assign(layer.bias)
    rows = layer.rows(x)
    reference = (rows.astype("float64") - basis.mean) @ basis.matrix
    got = numpy(layer.project(keras.ops.convert_to_tensor(x)))
    np.testing.assert_allclose(np.sort(got.ravel()), np.sort(reference.ravel()), atol=1e-5)
    # And the difference to the layer without it is one vector for all samples.
    difference = numpy(layer(x)) - numpy(plain(x))
    assert np.ptp(difference, axis=0).max() < 1e-5
    assert np.abs(difference).max() > 0.1


def test_rows_are_multiplied_by_the_kernel(row, basis, x):
    layer = row.make(basis)
    layer.build((None, *row.input_shape))
    rows = layer.rows(x)
    assert rows.shape[1] == row.in_dim
    projections = numpy(layer.project(keras.ops.convert_to_tensor(x)))
    flat = projections.reshape(-1, row.rank)
    reference = rows.astype("float64") @ basis.matrix
    assert len(flat) == len(reference)
    np.testing.assert_allclose(flat, reference, atol=1e-5)


def test_symbolic_and_eager_shapes_agree(row, basis, x):
    layer = row.make(basis)
    symbolic = layer(keras.Input(row.input_shape))
    assert symbolic.shape == (None, *row.output_shape)
    assert tuple(layer(x).shape) == (BATCH, *row.output_shape)
    assert tuple(layer.compute_output_shape((None, *row.input_shape))) == symbolic.shape


def test_weights_are_counted_and_ordered(row, basis):
    layer = row.make(basis, center=row.has_center)
    layer.build((None, *row.input_shape))
    names = ["learner", "bias", "basis", *(["mean"] if row.has_center else [])]
    assert [w.name for w in layer.weights] == names
    assert [w.name for w in layer.trainable_weights] == ["learner", "bias"]
    assert tuple(layer.learner.shape) == (row.rank, row.units)
    assert tuple(layer.basis.shape) == (row.in_dim, row.rank)
    np.testing.assert_array_equal(numpy(layer.basis), basis.matrix)
    layer.unfreeze_basis()
    assert [w.name for w in layer.weights] == names
    assert {w.name for w in layer.trainable_weights} == {"learner", "bias", "basis"}


def test_lora_is_refused(row, basis):
    with pytest.raises(NotImplementedError, match=r"has a learner of rank \d+ already"):
        row.make(basis).enable_lora(2)


def test_trainable_switches_never_unfreeze_a_frozen_basis(row, basis):
    layer = row.make(basis)
    layer.build((None, *row.input_shape))
    layer.trainable = False
    assert layer.trainable_weights == []
    layer.trainable = True
    assert [w.name for w in layer.trainable_weights] == ["learner", "bias"]
    layer.unfreeze_basis()
    layer.trainable = False
    assert not layer.basis.trainable
    layer.trainable = True
    assert layer.basis.trainable
    layer.freeze_basis()
    assert not layer.basis.trainable


def test_config_round_trip(row, basis):
    layer = row.make(
        basis,
        activation="relu",
        center=row.has_center,
        learner_regularizer=keras.regularizers.L2(0.1),
        learner_initializer="he_normal",
        bias_constraint="non_neg",
        name="mine",
        dtype="mixed_bfloat16",
    )
    layer.build((None, *row.input_shape))
    text = json.dumps(layer.get_config())
    config = json.loads(text)
    # The matrix is a weight: no list of numbers as long as one of its columns.
    assert not any(isinstance(v, list) and len(v) >= row.in_dim for v in config.values())
    assert len(text) < 4000
    again = type(layer).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert again.name == "mine"
    assert again.dtype_policy.name == "mixed_bfloat16"


def test_every_argument_of_the_constructor_is_in_the_config(row, basis):
    layer = row.make(basis)
    wanted = set(inspect.signature(type(layer).__init__).parameters)
    wanted |= set(inspect.signature(SubspaceLayer.__init__).parameters)
    wanted -= {"self", "kwargs"}
    if "bias_axes" in layer.get_config():
        wanted -= {"use_bias"}
    assert wanted <= set(layer.get_config())


def test_one_compiled_step_trains_learner_and_bias_only(row, basis, x, rng):
    model = keras.Sequential([keras.Input(row.input_shape), row.make(basis)])
    layer = model.layers[0]
    before = [numpy(w).copy() for w in layer.weights]
    y = rng.normal(size=(BATCH, *row.output_shape)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    for weight, old in zip(layer.weights, before, strict=True):
        changed = bool(np.abs(numpy(weight) - old).max() > 0)
        assert changed == (weight.name != "basis")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(row, basis, x, policy):
    layer = row.make(basis, dtype=policy, center=row.has_center)
    output = layer(x)
    assert keras.backend.standardize_dtype(output.dtype) == layer.compute_dtype
    assert {w.dtype for w in layer.weights} == {"float32"}
    reference = row.make(basis, center=row.has_center)
    reference.build((None, *row.input_shape))
    reference.set_weights(layer.get_weights())
    # A few units in the last place of what is summed: 2^-11 and 2^-8 relative.
    tolerance = {"mixed_float16": 1e-2, "mixed_bfloat16": 8e-2}[policy]
    np.testing.assert_allclose(numpy(output).astype("float32"), numpy(reference(x)), atol=tolerance)


@with_and_without_center
def test_to_dense_is_the_stock_layer_with_the_same_outputs(row, basis, x, rng, center):
    layer = row.make(basis, center=center, activation="sigmoid", name="mine")
    layer.build((None, *row.input_shape))
    randomized(layer, rng)
    stock = layer.to_dense()
    assert type(stock) is type(row.stock())
    assert stock.name == "mine"
    np.testing.assert_allclose(numpy(stock(x)), numpy(layer(x)), atol=1e-5)


def test_to_dense_keeps_what_the_stock_layer_has_too(row, basis):
    layer = row.make(
        basis,
        bias_regularizer=keras.regularizers.L2(0.3),
        bias_constraint="non_neg",
        activity_regularizer=keras.regularizers.L1(0.1),
        dtype="mixed_bfloat16",
    )
    layer.build((None, *row.input_shape))
    layer.trainable = False
    stock = layer.to_dense()
    assert float(stock.bias_regularizer.l2) == pytest.approx(0.3)
    assert isinstance(stock.bias_constraint, keras.constraints.NonNeg)
    assert float(stock.activity_regularizer.l1) == pytest.approx(0.1)
    assert stock.dtype_policy.name == "mixed_bfloat16"
    assert not stock.trainable


@with_and_without_center
def test_to_factors_are_two_stock_layers_with_the_same_outputs(row, basis, x, rng, center):
    layer = row.make(basis, center=center, activation="sigmoid", name="mine")
    layer.build((None, *row.input_shape))
    randomized(layer, rng)
    pair = layer.to_factors()
    assert [type(each) for each in pair.layers] == [type(row.stock())] * 2
    assert pair.name == "mine"
    np.testing.assert_allclose(numpy(pair(x)), numpy(layer(x)), atol=1e-5)
    kernels = [each.kernel for each in pair.layers]
    assert [math.prod(kernel.shape) for kernel in kernels] == [
        row.in_dim * row.rank,
        row.rank * row.units,
    ]
    # The same numbers; that their axes are right is what the outputs tell.
    for kernel, factor in zip(kernels, (layer.basis, layer.learner), strict=True):
        np.testing.assert_array_equal(
            np.sort(numpy(kernel).ravel()), np.sort(numpy(factor).ravel())
        )
    assert not pair.layers[0].trainable_weights


def test_saved_and_loaded(row, basis, x, tmp_path):
    model = keras.Sequential(
        [keras.Input(row.input_shape), row.make(basis, center=row.has_center, activation="tanh")]
    )
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.layers[0].get_basis().kind == "custom"


def test_clone_keeps_the_basis_and_draws_a_new_learner(row, basis, x):
    model = keras.Sequential([keras.Input(row.input_shape), row.make(basis, center=row.has_center)])
    clone = keras.models.clone_model(model)
    mine, theirs = model.layers[0], clone.layers[0]
    np.testing.assert_array_equal(numpy(theirs.basis), numpy(mine.basis))
    if row.has_center:
        np.testing.assert_array_equal(numpy(theirs.mean), numpy(mine.mean))
    assert theirs.basis is not mine.basis
    assert np.abs(numpy(theirs.learner) - numpy(mine.learner)).max() > 0
    assert np.isfinite(clone.predict(x, verbose=0)).all()


def test_clone_of_a_nested_model_keeps_the_basis(row, basis, x):
    inner = keras.Sequential([keras.Input(row.input_shape), row.make(basis)])
    inputs = keras.Input(row.input_shape)
    clone = keras.models.clone_model(keras.Model(inputs, inner(inputs)))
    theirs = clone.layers[-1].layers[0]
    np.testing.assert_array_equal(numpy(theirs.basis), basis.matrix)
    assert np.isfinite(clone.predict(x, verbose=0)).all()


def test_adapt_is_the_pca_of_the_rows(row, rng):
    x = rng.normal(size=(40, *row.input_shape)) * np.linspace(1, 3, row.input_shape[-1])
    layer = row.make("pca", rank=row.rank, center=row.has_center)
    layer.adapt(x.astype("float32"), batch_size=16)
    rows = layer.rows(x)
    covariance = np.cov(rows, rowvar=False)
    _, vectors = np.linalg.eigh(covariance)
    cosines = np.linalg.svd(vectors[:, -row.rank :].T @ numpy(layer.basis), compute_uv=False)
    assert cosines.min() > 1 - 1e-5
    if row.has_center:
        np.testing.assert_allclose(numpy(layer.mean), rows.mean(axis=0), atol=1e-5)
    assert np.isfinite(numpy(layer(x.astype("float32")))).all()
