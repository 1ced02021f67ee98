"""Small networks, one for each kind of graph that users build. Tests and benchmarks use them."""

import keras
import numpy as np
from keras import layers as L
from keras import ops


def plain():
    x = i = keras.Input((12, 12, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="first")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.MaxPooling2D()(L.ReLU()(x))
    x = L.Conv2D(10, 3, activation="relu", name="second")(x)
    x = L.Dense(12, activation="tanh", name="wide")(L.Flatten()(x))
    return keras.Model(i, L.Dense(5, name="last")(x))


def residual():
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same")(x)
    y = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = ops.relu(L.Add()([x, L.Conv2D(8, 3, padding="same")(y)]))
    x = x * 2 + L.Conv2D(8, 1)(x)
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def squeeze_and_excite():
    x = i = keras.Input((8, 8, 3))
    x = L.ZeroPadding2D()(L.Conv2D(8, 3, padding="same")(x))
    s = L.Reshape((1, 1, 8))(L.GlobalAveragePooling2D()(x))
    s = L.Dense(8, activation="sigmoid")(L.Dense(4, activation="relu")(s))
    return keras.Model(i, L.Dense(5)(L.Flatten()(L.Multiply()([x, s]))))


def dense_block():
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 3, padding="same")(x)
    for _ in range(3):
        y = L.ReLU()(L.BatchNormalization()(x))
        x = L.Concatenate()([x, L.Conv2D(4, 3, padding="same")(y)])
    return keras.Model(i, L.Dense(5)(L.GlobalMaxPooling2D()(x)))


def depthwise():
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same")(x)
    x = L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    x = L.ReLU(6)(L.BatchNormalization()(x))
    x = L.Conv2D(16, 3, groups=16, padding="same")(x)
    x = L.PReLU(shared_axes=[1, 2])(L.SeparableConv2D(12, 3, depth_multiplier=2)(x))
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def grouped():
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same")(x)
    x = L.Conv2D(12, 3, groups=2)(x)
    x = L.Conv2DTranspose(6, 3, strides=2)(L.LeakyReLU()(x))
    x = L.Conv2D(4, 3)(L.UpSampling2D()(x))
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def recurrent():
    x = i = keras.Input((7,), dtype="int32")
    x = L.LSTM(10, return_sequences=True)(L.Embedding(20, 8)(x))
    x = L.SimpleRNN(6)(L.GRU(9, return_sequences=True)(x))
    return keras.Model(i, L.Dense(5)(x))


def nested():
    shape = (8, 8, 8)
    inner = keras.Sequential(
        [
            keras.Input(shape),
            L.Conv2D(6, 3, padding="same", activation="relu", name="in_1"),
            L.Conv2D(8, 3, padding="same", name="in_2"),
        ],
        name="inner",
    )
    j = keras.Input(shape)
    branches = keras.Model(j, [L.Conv2D(8, 1)(L.Conv2D(7, 1)(j)), j * 1.0], name="branches")
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same")(x)
    a, b = branches(x)
    x = inner(inner(x) + a + b)
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def reshaped():
    x = i = keras.Input((8, 8, 3))
    x = ops.reshape(L.Conv2D(8, 3, padding="same")(x), (-1, 64, 8))
    x = L.Permute((2, 1))(ops.transpose(x, (0, 2, 1)))
    x = L.Dense(6)(x)
    x = ops.mean(ops.concatenate([x, x], axis=1), axis=1)
    return keras.Model(i, L.Dense(5)(x))


def siamese():
    encoder = keras.Sequential([L.Dense(8, activation="relu"), L.Dense(6)], name="encoder")
    encoder.build((None, 5))
    a, b = keras.Input((5,)), keras.Input((5,))
    return keras.Model([a, b], L.Dense(2)(ops.abs(encoder(a) - encoder(b))))


def channels_first():
    x = i = keras.Input((3, 8, 8))
    # Keras on TensorFlow adds the bias along the wrong axis where filters are as many as columns.
    x = L.Conv2D(7, 3, padding="same", data_format="channels_first")(x)
    x = L.Conv2D(5, 3, data_format="channels_first")(L.BatchNormalization(axis=1)(x))
    return keras.Model(i, L.Dense(5)(L.Flatten()(x)))


def einsum():
    i = keras.Input((7, 6))
    x = L.EinsumDense("abc,cd->abd", output_shape=(7, 8), bias_axes="d")(i)
    x = L.EinsumDense("abc,chd->abhd", output_shape=(7, 3, 4), bias_axes="hd")(x)
    x = L.EinsumDense("abhd,hdo->abo", output_shape=(7, 6))(ops.relu(x))
    return keras.Model(i, L.Dense(5)(L.Flatten()(x)))


def volumes():
    i = keras.Input((6, 6, 6, 2))
    x = L.AveragePooling3D(2)(L.Conv3D(6, 3, padding="same")(i))
    x = L.Conv1D(8, 3, padding="causal")(L.Reshape((9, -1))(x))
    return keras.Model(i, L.Dense(5)(L.GlobalMaxPooling1D()(L.LeakyReLU()(x))))


def u_net():
    x = i = keras.Input((8, 8, 3))
    down = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = L.Conv2D(8, 3, padding="same", activation="relu")(L.MaxPooling2D()(down))
    x = L.Conv2DTranspose(6, 2, strides=2)(x)
    x = L.Conv2D(6, 3, padding="same", activation="relu")(L.Concatenate()([x, down]))
    return keras.Model(i, L.Conv2D(2, 1)(x))


def pyramid():
    x = i = keras.Input((8, 8, 3))
    fine = L.Conv2D(6, 3, padding="same", activation="relu")(x)
    coarse = L.Conv2D(10, 3, strides=2, padding="same", activation="relu")(fine)
    top = L.Conv2D(7, 1)(coarse)
    merged = L.Conv2D(7, 1)(fine) + L.Resizing(8, 8, interpolation="nearest")(top)
    heads = [L.Conv2D(2, 3, padding="same")(each) for each in (merged, top)]
    return keras.Model(i, heads)


def inception():
    x = i = keras.Input((8, 8, 3))
    a = L.Conv2D(4, 1)(x)
    b = L.Conv2D(5, 3, padding="same")(L.Conv2D(3, 1)(x))
    c = L.Conv2D(2, 1)(L.AveragePooling2D(3, 1, padding="same")(x))
    x = L.Activation("swish")(L.BatchNormalization()(L.Concatenate()([a, b, c])))
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def several_outputs():
    i = keras.Input((6,))
    x = L.Dense(9, activation="gelu")(i)
    return keras.Model(i, {"a": L.Dense(3)(x), "b": L.Dense(2)(L.Dense(7)(x))})


def averaged():
    i, j = keras.Input((6,)), keras.Input((4,))
    a, b = L.Dense(9, activation="elu")(i), L.Dense(9)(j)
    x = ops.maximum(L.Average()([a, b]), L.Subtract()([a, b])) / 2.0
    return keras.Model([i, j], L.Dense(3)(x))


def masked():
    i = keras.Input((9,), dtype="int32")
    x = L.LSTM(8, return_sequences=True)(L.Embedding(20, 8, mask_zero=True)(i))
    x = L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    return keras.Model(i, L.Dense(2)(L.GRU(7)(x)))


def attention_with_a_mask():
    i, mask = keras.Input((9, 8)), keras.Input((9, 9))
    x = L.Dense(12)(i)
    x = L.MultiHeadAttention(4, 4)(x, i, attention_mask=ops.cast(mask > 0, "bool"))
    return keras.Model([i, mask], L.Dense(2)(x))


def channel_shuffle():
    x = i = keras.Input((8, 8, 3))
    x = ops.reshape(L.Conv2D(8, 1)(x), (-1, 8, 8, 2, 4))
    x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 8, 8, 8))
    return keras.Model(i, L.Dense(2)(L.Flatten()(L.Conv2D(6, 3)(x))))


def pixel_shuffle():
    x = i = keras.Input((8, 8, 3))
    x = ops.reshape(L.Conv2D(16, 3, padding="same")(x), (-1, 8, 8, 2, 2, 4))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 16, 4))
    return keras.Model(i, L.Conv2D(3, 3)(x))


def functions():
    x = i = keras.Input((6,))
    x = L.Lambda(lambda each: ops.abs(each) + 1.0)(L.Dense(9, activation=lambda x: 2.0 * x)(x))
    x = L.GaussianNoise(0.1)(L.Dropout(0.3)(L.ActivityRegularization(0.1)(x)))
    return keras.Model(i, L.Dense(2)(x))


def half_precision():
    x = i = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, dtype="mixed_float16")(L.Rescaling(2.0)(x))
    x = L.Dropout(0.3)(L.BatchNormalization(dtype="mixed_bfloat16")(x))
    x = L.Flatten()(L.Conv2D(6, 3)(ops.cast(x, "float32")))
    return keras.Model(i, L.Dense(5)(x))


def transformer():
    i = keras.Input((7, 6))
    x = L.Dense(16)(i)
    for _ in range(2):
        y = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(4, 4)(y, y)
        x = x + L.Dense(16)(L.Dense(24, activation="gelu")(L.LayerNormalization()(x)))
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling1D()(x)))


def group_norm():
    x = i = keras.Input((8, 8, 3))
    x = L.GroupNormalization(4)(L.Conv2D(8, 3, padding="same")(x))
    x = L.GroupNormalization(-1)(L.Conv2D(6, 3, activation="relu")(x))
    return keras.Model(i, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


# Without units whose removal changes what a normalization over channels computes.
EXACT = (
    *(plain, residual, squeeze_and_excite, dense_block, depthwise, grouped, recurrent, nested),
    *(reshaped, siamese, channels_first, einsum, volumes, u_net, pyramid, inception),
    *(several_outputs, averaged, masked, attention_with_a_mask, channel_shuffle, pixel_shuffle),
    functions,
)
# Those, and models whose rounding is coarse.
NORMALIZED = (transformer, group_norm, half_precision)


def inputs(model, samples=3, seed=0):
    """Return inputs of a model, one array or a list."""
    rng = np.random.default_rng(seed)
    arrays = [
        rng.integers(0, 20, (samples, *each.shape[1:]))
        if "int" in each.dtype
        else rng.normal(size=(samples, *each.shape[1:])).astype("float32")
        for each in model.inputs
    ]
    return arrays if len(arrays) > 1 else arrays[0]
