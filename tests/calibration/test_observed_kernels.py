"""What a calibration sees of each layer: rows made another way give the same moments."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration
from keras_sac._model import kind_of
from keras_sac.calibration._products import Product
from tests.marks import needs_channels_first


def numpy(tensor):
    return ops.convert_to_numpy(tensor)


def model_of(*stack, shape, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *stack])


def patches(layer, x):
    """Return the patches of each group: convolutions with the columns of an identity."""
    axis = -1 if layer.data_format == "channels_last" else 1
    padding = layer.padding
    if padding == "causal":
        left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
        x, padding = np.pad(x, [(0, 0), (left, 0), (0, 0)]), "valid"
    found = []
    for part in np.split(x, layer.groups, axis=axis):
        size = int(np.prod(layer.kernel_size)) * part.shape[axis]
        identity = np.eye(size, dtype="float32").reshape(*layer.kernel_size, -1, size)
        made = ops.conv(
            part,
            identity,
            strides=layer.strides,
            padding=padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        found.append(np.moveaxis(numpy(made), axis, -1).reshape(-1, size))
    return found


def assert_moments(calibration, key, groups):
    """Check count, mean and centered second moment of the rows of each group."""
    kernel = next(each for each in calibration.kernels if each.key.endswith(key))
    fits = calibration.fits(kernel)
    assert len(fits) == len(groups)
    for fit, rows in zip(fits, groups, strict=True):
        rows = rows.astype(np.float64)
        assert fit.inputs.count == len(rows)
        np.testing.assert_allclose(fit.inputs.mean, rows.mean(axis=0), atol=1e-5)
        centered = rows - rows.mean(axis=0)
        expected = centered.T @ centered / len(rows)
        np.testing.assert_allclose(fit.inputs.matrix, expected, atol=2e-5 * np.abs(expected).max())
    return kernel


CONVOLUTIONS = [
    (lambda **k: L.Conv1D(6, 3, strides=2, **k), (9, 4)),
    (lambda **k: L.Conv1D(6, 3, padding="causal", dilation_rate=2, **k), (9, 4)),
    (lambda **k: L.Conv2D(6, (2, 3), padding="same", strides=2, **k), (7, 8, 4)),
    (lambda **k: L.Conv2D(6, 3, dilation_rate=2, **k), (7, 8, 4)),
    (lambda **k: L.Conv2D(6, 3, groups=2, padding="same", **k), (5, 6, 4)),
    (lambda **k: L.Conv3D(4, 2, strides=(1, 2, 1), groups=2, **k), (4, 5, 4, 4)),
    pytest.param(
        lambda **k: L.Conv2D(6, 3, groups=2, data_format="channels_first", **k),
        (4, 5, 6),
        marks=needs_channels_first,
    ),
]


@pytest.mark.parametrize(("make", "shape"), CONVOLUTIONS)
def test_patches_of_convolutions(make, shape, rng):
    layer = make(name="conv", activation="relu")
    x = rng.normal(1.0, 2.0, (7, *shape)).astype("float32")
    model = model_of(layer, shape=shape)
    calibration = Calibration.from_data(model, x, batch_size=3, verbose=0)
    kernel = assert_moments(calibration, "conv:kernel", patches(layer, x))
    assert kernel.has_outputs
    # The products of the rows are the outputs before bias and activation.
    made = [
        rows @ matrix for rows, matrix in zip(patches(layer, x), kernel.matrices(), strict=True)
    ]
    axis = -1 if layer.data_format == "channels_last" else 1
    expected = np.moveaxis(numpy(model(x)), axis, -1).reshape(len(made[0]), -1)
    np.testing.assert_allclose(np.maximum(np.concatenate(made, 1), 0), expected, atol=1e-4)
    # Of many rows some are enough; the mask and the choice leave the same ones in both.
    product = Product(layer, x, numpy(layer(x)), None, None, False)
    chosen = rng.permutation(len(made[0]))[:5]
    some = kernel.rows(product, choose=lambda count: chosen)
    np.testing.assert_allclose(some, np.stack(patches(layer, x))[:, chosen], atol=1e-6)
    # The kernel is written back as it was.
    written = kernel.from_matrices(kernel.matrices()).astype("float32")
    np.testing.assert_array_equal(written, numpy(layer.kernel))


def test_the_pointwise_kernel_of_a_separable_convolution(rng):
    layer = L.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2, name="sep")
    x = rng.normal(size=(6, 7, 8, 3)).astype("float32")
    calibration = Calibration.from_data(model_of(layer, shape=x.shape[1:]), x, verbose=0)
    middle = ops.depthwise_conv(x, layer.depthwise_kernel, strides=2, padding="same")
    assert_moments(calibration, "sep:pointwise_kernel", [numpy(middle).reshape(-1, 6)])
    assert list(calibration.reasons) == ["sep:depthwise_kernel"]


def test_inputs_of_a_dense_layer_at_all_positions(rng):
    x = rng.normal(size=(6, 3, 5, 4)).astype("float32")
    model = model_of(L.Dense(3, name="last"), shape=x.shape[1:])
    calibration = Calibration.from_data(model, x, batch_size=4, verbose=0)
    assert_moments(calibration, "last:kernel", [x.reshape(-1, 4)])


@pytest.mark.parametrize(
    ("equation", "output_shape", "shape", "rows"),
    [
        ("abc,cde->abde", (None, 5, 2), (4, 3), lambda x: x.reshape(-1, 3)),
        ("abcd,cde->abe", (None, 5), (3, 2, 4), lambda x: x.reshape(-1, 8)),
        ("abc,bd->acd", (4, 5), (3, 4), lambda x: np.swapaxes(x, 1, 2).reshape(-1, 3)),
    ],
)
def test_inputs_of_an_einsum(equation, output_shape, shape, rows, rng):
    x = rng.normal(size=(6, *shape)).astype("float32")
    model = model_of(L.EinsumDense(equation, output_shape, name="sum"), shape=shape)
    calibration = Calibration.from_data(model, x, verbose=0)
    assert assert_moments(calibration, "sum:kernel", [rows(x)]).has_outputs


@pytest.mark.parametrize(
    "attention",
    [
        lambda: L.MultiHeadAttention(2, 3, name="mha"),
        lambda: L.GroupQueryAttention(4, 4, 2, name="mha"),
    ],
)
def test_projections_of_attention(attention, rng):
    layer = attention()
    query, value = keras.Input((4, 8)), keras.Input((5, 8))
    model = keras.Model([query, value], layer(query, value))
    x, z = (rng.normal(size=(6, *s)).astype("float32") for s in ((4, 8), (5, 8)))
    calibration = Calibration.from_data(model, [x, z], verbose=0)
    assert_moments(calibration, "query:kernel", [x.reshape(-1, 8)])
    for name in ("key", "value"):
        assert_moments(calibration, f"{name}:kernel", [z.reshape(-1, 8)])
    assert len(calibration.kernels) == 4
    assert all(each.has_outputs for each in calibration.kernels)


def states_of(layer, x, mask=None):
    """Return the state before each step: the outputs of the steps before it."""
    twin = type(layer)(layer.units, return_sequences=True)
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    made = numpy(twin(x, mask=mask))
    return np.concatenate([np.zeros_like(made[:, :1]), made[:, :-1]], axis=1)


RECURRENT = [L.LSTM, L.GRU, L.SimpleRNN]


@pytest.mark.parametrize("layer_class", RECURRENT)
def test_both_kernels_of_recurrent_layers(layer_class, rng):
    x = rng.normal(size=(6, 5, 3)).astype("float32")
    layer = layer_class(4, name="rnn")
    calibration = Calibration.from_data(model_of(layer, shape=(5, 3)), x, batch_size=4, verbose=0)
    assert_moments(calibration, "rnn:kernel", [x.reshape(-1, 3)])
    assert_moments(calibration, "rnn:recurrent_kernel", [states_of(layer, x).reshape(-1, 4)])


@pytest.mark.parametrize("layer_class", RECURRENT)
def test_recurrent_layers_in_both_directions_with_padding(layer_class, rng):
    tokens = rng.integers(1, 9, (6, 5))
    for row, length in enumerate((5, 4, 3, 2, 1, 5)):
        tokens[row, length:] = 0
    both = L.Bidirectional(layer_class(4, return_sequences=True), name="both")
    table = L.Embedding(9, 3, mask_zero=True)
    model = model_of(table, both, L.Dense(2, name="last"), shape=(5,), dtype="int32")
    calibration = Calibration.from_data(model, tokens.astype("int32"), batch_size=4, verbose=0)
    x, mask = numpy(table(tokens)), tokens > 0
    forward = states_of(both.forward_layer, x, mask)[mask]
    # The steps of padding come first, and change nothing.
    backward = states_of(both.backward_layer, x[:, ::-1], mask[:, ::-1])[:, ::-1][mask]
    one, two = (f"{each.name}:" for each in (both.forward_layer, both.backward_layer))
    assert_moments(calibration, f"{one}kernel", [x[mask]])
    assert_moments(calibration, f"{one}recurrent_kernel", [forward])
    assert_moments(calibration, f"{two}kernel", [x[mask]])
    assert_moments(calibration, f"{two}recurrent_kernel", [backward])
    assert_moments(calibration, "last:kernel", [numpy(both(table(tokens)))[mask]])


def test_recurrent_layers_that_start_from_states_of_others(rng):
    first, second = keras.Input((5, 3)), keras.Input((4, 3))
    made, *states = L.LSTM(4, return_sequences=True, return_state=True, name="encoder")(first)
    decoded = L.LSTM(4, return_sequences=True, name="decoder")(second, initial_state=states)
    model = keras.Model([first, second], [L.Dense(2)(made), L.Dense(2)(decoded)])
    x = [rng.normal(size=(6, *s)).astype("float32") for s in ((5, 3), (4, 3))]
    y = [rng.normal(size=(6, s, 2)).astype("float32") for s in (5, 4)]
    calibration = Calibration.from_data(model, x, y, loss="mse", verbose=0)
    assert [each.key for each in calibration.kernels][:3] == [
        *("encoder:kernel", "encoder:recurrent_kernel", "decoder:kernel"),
    ]
    assert "another call" in calibration.reasons["decoder:recurrent_kernel"]


def test_a_shared_layer_sees_the_inputs_of_all_its_calls(rng):
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, name="twice")], name="inner")
    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    model = keras.Model({"one": one, "two": two}, L.Dense(2, name="last")(inner(one) - inner(two)))
    x = {name: rng.normal(size=(6, 4)).astype("float32") for name in ("one", "two")}
    calibration = Calibration.from_data(model, x, verbose=0)
    kernel = assert_moments(calibration, "twice:kernel", [np.concatenate([x["one"], x["two"]])])
    assert (kernel.calls, kernel.path, kernel.uses) == (2, "inner/twice", 2)
    middle = numpy(inner(x["one"])) - numpy(inner(x["two"]))
    assert_moments(calibration, "last:kernel", [middle])


@keras.saving.register_keras_serializable(package="tests")
class Holder(keras.Model):
    """Layers in attributes, lists and dicts."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = L.Dense(6, activation="relu", name="first")
        self.listed = [L.Dense(6, name="listed"), L.Dense(6, name="other")]
        self.named = {"head": L.Dense(2, name="head")}

    def build(self, input_shape):
        self.first.build(input_shape)
        for layer in [*self.listed, *self.named.values()]:
            layer.build((None, 6))
        self.built = True

    def call(self, x):
        x = self.first(x)
        for layer in self.listed:
            x = x + layer(x)
        return {"head": self.named["head"](x)}


def test_layers_in_attributes_lists_and_dicts(rng):
    model = Holder()
    model.build((None, 4))
    x = rng.normal(size=(6, 4)).astype("float32")
    y = {"head": rng.normal(size=(6, 2)).astype("float32")}
    calibration = Calibration.from_data(model, x, y, loss={"head": "mse"}, verbose=0)
    assert [each.key for each in calibration.kernels] == [
        *("first:kernel", "listed:kernel", "other:kernel", "head:kernel"),
    ]
    assert_moments(calibration, "listed:kernel", [numpy(model.first(x))])
    assert calibration.summary()["gradients"].all()


def test_kernels_in_two_layers_are_left_out(rng):
    class Tied(L.Dense):
        def __init__(self, other, **kwargs):
            super().__init__(other.units, use_bias=False, **kwargs)
            self.other = other

        def build(self, input_shape):
            self._kernel, self.bias, self.built = self.other.kernel, None, True

    one = L.Dense(4, name="one")
    one.build((None, 4))
    model = model_of(one, Tied(one, name="two"), L.Dense(3, name="last"), shape=(4,))
    x = rng.normal(size=(6, 4)).astype("float32")
    calibration = Calibration.from_data(model, x, verbose=0)
    assert [each.key for each in calibration.kernels] == ["last:kernel"]
    assert any("shared" in reason for reason in calibration.reasons.values())


def test_kernels_without_products_have_a_reason(rng):
    model = model_of(
        L.Embedding(9, 4, name="table"),
        L.TimeDistributed(L.Dense(4, name="inner"), name="steps"),
        L.Dense(3, name="last"),
        shape=(5,),
        dtype="int32",
    )
    calibration = Calibration.from_data(model, rng.integers(0, 9, (6, 5)), verbose=0)
    assert [each.key for each in calibration.kernels] == ["last:kernel"]
    assert set(calibration.reasons) == {"table:embeddings", "steps:kernel"}
    table = calibration.summary()
    assert (table["reason"] != "").tolist() == [False, True, True]


def test_rows_of_a_wrong_shape_are_refused(rng, monkeypatch):
    kind = kind_of(L.Dense)
    monkeypatch.setattr(type(kind), "rows", lambda self, layer, inputs: inputs[0])
    model = model_of(L.Dense(4, name="first"), shape=(5,))
    with pytest.raises(ValueError, match=r"first:kernel: its rows have the shape \(1, 5\)"):
        Calibration.from_data(model, np.ones((9, 5), "float32"), verbose=0)


def test_a_batch_of_fixed_size(rng):
    states = L.SimpleRNN(3, stateful=True, name="states")  # one for each of 12 samples
    model = keras.Sequential([keras.Input(batch_shape=(12, 4, 5)), states, L.Dense(4, name="last")])
    x = rng.normal(size=(24, 4, 5)).astype("float32")
    calibration = Calibration.from_data(model, x, batch_size=12, verbose=0)
    assert_moments(calibration, "states:kernel", [x.reshape(-1, 5)])
    assert calibration.kernels[0].uses == 4


def test_values_that_a_mask_hides_are_not_looked_at(rng):
    table = L.Embedding(9, 4, mask_zero=True, name="table")
    model = model_of(table, L.Dense(3, name="last"), shape=(5,), dtype="int32")
    vectors = rng.normal(size=(9, 4)).astype("float32")
    vectors[0] = np.nan
    table.embeddings.assign(vectors)
    x = rng.integers(1, 9, (6, 5))
    x[:, 3:] = 0
    calibration = Calibration.from_data(model, x, targets="last", verbose=0)
    assert_moments(calibration, "last:kernel", [vectors[x[:, :3]].reshape(-1, 4)])


def normalized(*, residual=False, twice=False, axis=-1):
    inputs = keras.Input((6, 6, 3))
    x = L.Conv2D(6, 3, use_bias=False, padding="same", name="conv")(inputs)
    y = L.BatchNormalization(axis=axis, name="norm")(x)
    if residual:
        y = y + x
    if twice:
        y = y + L.BatchNormalization()(x)
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(y)))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, "norm"),
        ({"residual": True}, None),
        ({"twice": True}, None),
        ({"axis": 1}, None),
    ],
)
def test_the_batch_normalization_after_a_convolution(options, found, rng):
    x = rng.normal(size=(6, 6, 6, 3)).astype("float32")
    model = normalized(**options)
    calibration = Calibration.from_data(model, x, verbose=0)
    assert calibration.kernels[0].batch_norm == found
    assert not numpy(model.get_layer("norm").moving_mean).any()
