"""Readings of a convolution: outputs of the merged kernel, counts, adaptation, training."""

import keras
import numpy as np
import pytest

from keras_sac import footprint, precompute_projection
from keras_sac.layers import SACConv1D, SACConv2D, SACConv3D
from tests.marks import needs_channels_first

SAC = {1: SACConv1D, 2: SACConv2D, 3: SACConv3D}
STOCK = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
# Basis and learner to kernel: axes `xyz` of space, channels `c`, rank `r`, filters `f`.
EINSUM = {
    (1, "patches"): "xcr,rf->xcf",
    (1, "channels"): "cr,rxf->xcf",
    (2, "patches"): "xycr,rf->xycf",
    (2, "channels"): "cr,rxyf->xycf",
    (2, "spatial"): "xcr,ryf->xycf",
    (3, "patches"): "xyzcr,rf->xyzcf",
    (3, "channels"): "cr,rxyzf->xyzcf",
    (3, "spatial"): "xcr,ryzf->xyzcf",
}
CHANNELS, RANK, FILTERS = 3, 2, 5
READINGS = [pytest.param(*key, id=f"{key[0]}d-{key[1]}") for key in EINSUM]
# Keras has causal padding in one dimension only.
PADDED = [
    pytest.param(*key, padding, id=f"{key[0]}d-{key[1]}-{padding}")
    for key in EINSUM
    for padding in ("valid", "same", *(["causal"] if key[0] == 1 else []))
]
TWO = pytest.mark.parametrize("reading", ["channels", "spatial"])


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def factors_and_kernel(rng, ndim, reading, kernel_size):
    """Return basis, learner, and the kernel as NumPy sees it."""
    sizes = {
        **dict(zip("xyz", kernel_size, strict=False)),
        "c": CHANNELS,
        "r": RANK,
        "f": FILTERS,
    }
    operands = EINSUM[ndim, reading].split("->")[0].split(",")
    basis, learner = (rng.normal(size=[sizes[label] for label in each]) for each in operands)
    kernel = np.einsum(EINSUM[ndim, reading], basis, learner)
    return basis.reshape(-1, RANK), learner.reshape(RANK, -1), kernel.astype("float32")


@pytest.mark.parametrize("steps", ["plain", "strided", "dilated"])
@pytest.mark.parametrize(("ndim", "reading", "padding"), PADDED)
def test_outputs_are_those_of_the_merged_kernel(rng, ndim, reading, steps, padding):
    kernel_size, shape = (3, 2, 4)[:ndim], (9, 8, 7)[:ndim]
    arguments = {
        "plain": {},
        "strided": {"strides": (2, 3, 2)[:ndim]},
        "dilated": {"dilation_rate": (2, 3, 1)[:ndim]},
    }[steps]
    basis, learner, kernel = factors_and_kernel(rng, ndim, reading, kernel_size)
    bias = rng.normal(size=FILTERS)
    stock = STOCK[ndim](FILTERS, kernel_size, padding=padding, **arguments)
    stock.build((None, *shape, CHANNELS))
    stock.set_weights([kernel, bias])
    layer = SAC[ndim].from_stock_layer(stock, basis, learner, reading=reading)
    x = rng.normal(size=(2, *shape, CHANNELS)).astype("float32")
    expected = numpy(stock(x))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(numpy(layer.kernel), kernel, atol=1e-6 * np.abs(kernel).max())
    factored = layer.combine(layer.project(keras.ops.convert_to_tensor(x)))
    for outputs in (layer(x), factored, layer.to_factors()(x), layer.to_dense()(x)):
        np.testing.assert_allclose(numpy(outputs), expected, atol=1e-5 * scale)
    assert layer.compute_output_shape((2, *shape, CHANNELS)) == expected.shape


@needs_channels_first
@pytest.mark.parametrize(("ndim", "reading"), READINGS)
def test_channels_first(rng, ndim, reading):
    # Keras on TensorFlow adds the bias along the wrong axis where a size is that of the filters.
    kernel_size, shape = (3, 2, 2)[:ndim], (6, 7, 4)[:ndim]
    basis, learner, kernel = factors_and_kernel(rng, ndim, reading, kernel_size)
    stock = STOCK[ndim](FILTERS, kernel_size, padding="same", data_format="channels_first")
    stock.build((None, CHANNELS, *shape))
    stock.set_weights([kernel, rng.normal(size=FILTERS)])
    layer = SAC[ndim].from_stock_layer(stock, basis, learner, reading=reading)
    x = rng.normal(size=(2, CHANNELS, *shape)).astype("float32")
    expected = numpy(stock(x))
    factored = layer.combine(layer.project(keras.ops.convert_to_tensor(x)))
    for outputs in (layer(x), factored, layer.to_factors()(x)):
        np.testing.assert_allclose(numpy(outputs), expected, atol=1e-5 * np.abs(expected).max())
    factors = keras.Sequential([keras.Input((CHANNELS, *shape)), *layer.to_factors().layers])
    whole = keras.Sequential([keras.Input((CHANNELS, *shape)), layer])
    assert total(whole, "macs") == total(factors, "macs")


def total(model, column):
    return footprint(model, compression=False).attrs["total"][column]


# Inputs 12 x 10 with 4 channels, kernels 3 x 3, 8 filters. A row: arguments, size of the inputs of
# the second convolution, size of the outputs.
COUNTS = [
    ("spatial", {"padding": "same"}, 12 * 10, 12 * 10),
    # The first convolution makes the rows shorter, the second one the columns.
    ("spatial", {"padding": "valid"}, 10 * 10, 10 * 8),
    ("spatial", {"padding": "same", "strides": (3, 2)}, 4 * 10, 4 * 5),
    ("spatial", {"padding": "valid", "dilation_rate": 2}, 8 * 10, 8 * 6),
    ("channels", {"padding": "valid"}, 12 * 10, 10 * 8),
    ("channels", {"padding": "same", "strides": 2}, 12 * 10, 6 * 5),
    ("patches", {"padding": "valid", "strides": 2}, 5 * 4, 5 * 4),
]


@pytest.mark.parametrize(("reading", "arguments", "between", "outputs"), COUNTS)
def test_operations_are_counted_for_each_factor(reading, arguments, between, outputs):
    layer = SACConv2D(8, 3, "random", rank=2, reading=reading, use_bias=False, **arguments)
    model = keras.Sequential([keras.Input((12, 10, 4)), layer])
    columns = {"patches": 9 * 4, "channels": 4, "spatial": 3 * 4}[reading]
    basis_size, learner_size = columns * 2, 2 * 9 * 4 * 8 // columns
    assert (layer.basis.shape, layer.learner.shape) == ((columns, 2), (2, learner_size // 2))
    expected = between * basis_size + outputs * learner_size
    assert total(model, "macs") == expected
    factors = keras.Sequential([keras.Input((12, 10, 4)), *layer.to_factors().layers])
    assert total(factors, "macs") == expected
    assert total(factors, "parameters") == total(model, "parameters") == basis_size + learner_size
    layer.learner.assign(numpy(layer.learner) * (np.arange(learner_size // 2) % 2))
    assert total(model, "effective_macs") == between * basis_size + outputs * learner_size // 2


def test_the_cheaper_order_depends_on_the_size_of_the_inputs():
    # A stride of 4 in the learner: 1 x 1 at all positions costs more than it saves.
    layer = SACConv2D(8, 3, "random", rank=2, reading="channels", strides=4)
    layer.build((None, None, None, 4))
    whole = 9 * 4 * 8
    for size, positions, outputs in ((9, 81, 4), (4, 16, 1), (3, 9, 1)):
        model = keras.Sequential([keras.Input((size, size, 4)), layer])
        factored, merged = positions * 4 * 2 + outputs * 2 * 9 * 8, outputs * whole
        x = keras.ops.zeros((1, size, size, 4))
        assert layer.is_factored(x) == (factored <= merged)
        assert total(model, "macs") == min(factored, merged)
    assert layer.is_factored(keras.KerasTensor((None, None, None, 4))) == (16 * 4 + 72 <= 288 / 2)


def test_pca_is_of_the_patches_of_the_first_convolution(rng):
    x = (rng.normal(size=(6, 7, 5, 3)) * [1, 2, 3] + 1).astype("float32")
    rows = {
        "channels": x.reshape(-1, 3),
        "spatial": np.stack(
            [x[:, row : row + 3, column] for row in range(5) for column in range(5)], axis=1
        ).reshape(-1, 9),
    }
    for reading, expected in rows.items():
        layer = SACConv2D(4, (3, 2), "pca", rank=2, reading=reading)
        got = layer.rows(x)
        order = [np.lexsort(each.T) for each in (got, expected)]
        np.testing.assert_array_equal(got[order[0]], expected[order[1]])
        layer.adapt(x, verbose=0)
        leading = np.linalg.eigh(np.cov(expected, rowvar=False))[1][:, -2:]
        cosines = np.linalg.svd(leading.T @ numpy(layer.basis), compute_uv=False)
        assert cosines.min() > 1 - 1e-5


@TWO
def test_the_default_learner_gives_the_variance_of_the_stock_layer(rng, reading):
    x = rng.normal(size=(20, 9, 9, 8)).astype("float32") * np.linspace(0.1, 2, 8)

    def variance(make):
        return np.mean([np.mean(np.square(numpy(make()(x)))) for _ in range(30)])

    def adapted():
        layer = SACConv2D(12, 3, "pca", rank=3, reading=reading)
        layer.adapt(x, verbose=0)
        return layer

    expected = variance(lambda: keras.layers.Conv2D(12, 3))
    assert variance(adapted) == pytest.approx(expected, rel=0.25)


@TWO
def test_training_and_unfreezing(rng, reading):
    x = rng.normal(size=(12, 6, 6, 3)).astype("float32")
    y = rng.normal(size=(12, 3, 3, 5)).astype("float32")
    layer = SACConv2D(5, 3, "random", rank=2, reading=reading, strides=2, padding="same")
    model = keras.Sequential([keras.Input((6, 6, 3)), layer])

    def changed():
        before = [numpy(weight).copy() for weight in layer.weights]
        model.compile("sgd", "mse")
        model.fit(x, y, verbose=0)
        pairs = zip(layer.weights, before, strict=True)
        return {w.name for w, old in pairs if np.abs(numpy(w) - old).max() > 0}

    assert changed() == {"learner", "bias"}
    layer.unfreeze_basis(orthonormal=True)
    assert changed() == {"learner", "bias", "basis"}
    basis = numpy(layer.basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-5)


@TWO
def test_projections_are_computed_once(rng, reading):
    x = rng.normal(size=(20, 6, 7, 3)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((6, 7, 3)),
            SACConv2D(5, 3, "random", rank=2, reading=reading, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    head, z = precompute_projection(model, x, verbose=0)
    assert z.shape == (20, 6, 7, 2)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(head.predict(z, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SACConv2D(4, 3, "random", rank=2, reading="rows"),
            "`reading` must be one of.*row",
        ),
        (
            lambda: SACConv1D(4, 3, "random", rank=2, reading="spatial"),
            "'patches' or 'channels' in one dimension",
        ),
        (
            lambda: SACConv2D(4, 3, "pca", rank=2, reading="channels", center=True),
            "`center=True` needs reading='patches'",
        ),
        (
            lambda: SACConv2D(4, 3, "random", rank=4, reading="channels").build((None, 8, 8, 3)),
            "`rank` must be between 1 and 3",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
