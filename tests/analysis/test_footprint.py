"""`footprint` and `compare`: rows, totals and bytes against NumPy and gzip."""

import gzip

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from keras_sac import (
    KernelAxes,
    LayerKind,
    SACDense,
    compare,
    footprint,
    prune_to_sparsity,
    register_layer,
)
from keras_sac._sparse_array import encoded_size
from keras_sac.sparse_runtime._sparse_dense import sparse_of


def network():
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(40, name="wide"), layers.BatchNormalization(name="bn")],
        name="inner",
    )
    inputs = keras.Input((6,))
    hidden = inner(inputs)
    hidden = SACDense(30, "random", rank=4, name="sac")(layers.Activation("relu")(hidden))
    return keras.Model(inputs, layers.Dense(2, name="last", trainable=False)(hidden))


def test_rows_and_totals():
    model = network()
    prune_to_sparsity(model, 0.5)
    found = footprint(model).set_index("layer")
    total = found.attrs["total"]
    assert list(found.index) == ["inner/wide", "inner/bn", "sac", "last"]
    assert found["parameters"].tolist() == [280, 160, 160 + 120 + 30, 62]
    assert total["parameters"] == model.count_params() == 812
    assert [total[name] for name in ("trainable", "macs", "effective_macs")] == [510, 580, 370]
    assert found["trainable"].tolist() == [280, 80, 150, 0]
    assert found["macs"].tolist() == [240, 0, 280, 60]
    assert found["effective_macs"].tolist() == [120, 0, 160 + 60, 30]
    by_hand = sum(int(np.count_nonzero(w)) for w in model.get_weights())
    assert total["nonzeros"] == by_hand
    assert total["sparsity"] == pytest.approx(1 - by_hand / 812)
    assert total["bytes"] == 4 * 812
    # Half of 240 zeros: a bit each, and the others as they are.
    assert found["bound_bytes"]["inner/wide"] == 240 / 8 + 4 * 120 + 4 * 40
    assert found["bound_bytes"]["inner/bn"] == 4 * 160


def test_compressed_bytes():
    model = network()
    prune_to_sparsity(model, 0.9)
    found = footprint(model).set_index("layer")
    weights = [keras.ops.convert_to_numpy(w) for w in model.get_layer("last").weights]
    packed = gzip.compress(b"".join(w.tobytes() for w in weights), compresslevel=9)
    # The name of the system in the header aside, it is the same stream.
    assert abs(found["gzip_bytes"]["last"] - len(packed)) <= 2
    assert found["sparse_bytes"]["last"] == sum(map(encoded_size, weights))
    fast = footprint(model, compression=False)
    assert not {"gzip_bytes", "sparse_bytes"} & set(fast.columns)
    pd.testing.assert_frame_equal(
        fast, found.reset_index().drop(columns=["gzip_bytes", "sparse_bytes"])
    )


def test_other_types_have_other_bytes():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, dtype="bfloat16")])
    found = footprint(model)
    assert found["bytes"].tolist() == [72]
    assert found.attrs["total"]["bytes"] == 72
    mixed = keras.Sequential([keras.Input((8,)), layers.Dense(4, dtype="mixed_float16")])
    assert footprint(mixed)["bytes"].tolist() == [144]


class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(5, name="one"), layers.Dense(5, name="two")]
        self.shared = self.blocks[0]

    def call(self, inputs):
        for block in self.blocks:
            inputs = keras.ops.relu(block(inputs))
        return self.shared(inputs)


def test_a_subclassed_model_and_the_model_as_it_was(rng):
    model = Own()
    x = rng.normal(size=(3, 5)).astype("float32")
    before = keras.ops.convert_to_numpy(model(x))
    weights = model.get_weights()
    found = footprint(model, x)
    assert found["macs"].tolist() == [50, 25]
    assert found.attrs["total"]["macs"] == 75
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), before)
    for mine, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, old)
    assert footprint(model)["macs"].tolist() == [50, 25]


def test_open_axes_need_a_sample():
    model = keras.Sequential(
        [keras.Input((None, 4)), layers.Dense(3, name="d"), layers.GlobalAveragePooling1D()]
    )
    with pytest.warns(UserWarning, match="operations are not counted.*Pass `sample=`"):
        found = footprint(model)
    assert found["macs"].isna().all()
    assert found.attrs["total"]["macs"] is None
    assert found["parameters"].tolist() == [15]
    assert footprint(model, np.zeros((2, 7, 4)))["macs"].tolist() == [84]


class OddKind(LayerKind):
    def kernels(self, layer):
        return {"kernel": KernelAxes(inputs=(0,), outputs=(1,))}

    def uses(self, layer, input_shape, output_shape):
        return input_shape[0]


def test_classes_that_are_not_known():
    class Odd(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], shape[-1]))

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.kernel)

    model = keras.Sequential([keras.Input((4,)), Odd(name="odd"), layers.Dense(2, name="d")])
    with pytest.warns(UserWarning, match=r"odd \(Odd\) are not known"):
        found = footprint(model).set_index("layer")
    assert found["macs"].isna().tolist() == [True, False]
    assert found.attrs["total"]["macs"] is None
    register_layer(Odd, OddKind())
    # Warnings are errors here.
    found = footprint(model)
    assert found["macs"].tolist() == [16, 8]
    assert found.attrs["total"]["macs"] == 24


class Position(layers.Layer):
    """Adds learned positions and puts a learned token in front, as vision transformers do."""

    def build(self, shape):
        self.inner = layers.Dense(4)
        self.inner.build(shape)
        self.class_token = self.add_weight(shape=(1, 1, 4), name="class_token")
        self.table = self.add_weight(shape=(*shape[1:-1], 4), name="position_embedding")

    def call(self, inputs):
        hidden = self.inner(inputs) + self.table
        token = keras.ops.repeat(self.class_token, keras.ops.shape(inputs)[0], axis=0)
        return keras.ops.concatenate([token, hidden], axis=1)


def test_what_is_added_or_looked_up_is_no_product():
    model = keras.Sequential([keras.Input((3, 5)), Position()])
    assert footprint(model).attrs["total"]["macs"] == 3 * 5 * 4


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantized_kernel_counts_as_what_it_stands_for(mode, rng):
    model = keras.Sequential([keras.Input((256,)), layers.Dense(6, use_bias=False)])
    kernel = np.where(rng.random((256, 6)) < 0.75, 0.0, np.sign(rng.normal(size=(256, 6))))
    model.set_weights([kernel])
    before = footprint(model).attrs["total"]
    model.layers[0].quantize(mode)
    after = footprint(model).attrs["total"]
    assert after["effective_macs"] == before["effective_macs"] == np.count_nonzero(kernel)
    scales = sum(w.size for w in model.get_weights()[1:])
    assert after["parameters"] == kernel.size + scales
    assert after["bytes"] < 0.7 * before["bytes"]


def test_indices_of_sparse_layers_are_bytes(rng):
    kernel = np.where(rng.random((64, 10)) < 0.9, 0.0, rng.normal(size=(64, 10)))
    dense = layers.Dense(10)
    dense.build((None, 64))
    dense.set_weights([kernel, np.ones(10)])
    before = footprint(keras.Sequential([keras.Input((64,)), dense])).attrs["total"]
    model = keras.Sequential([keras.Input((64,)), sparse_of(dense)])
    found = footprint(model).attrs["total"]
    assert found["macs"] == before["macs"] == 640
    assert found["effective_macs"] == before["effective_macs"] == np.count_nonzero(kernel)
    assert found["nonzeros"] == before["nonzeros"]
    stored = [keras.ops.convert_to_numpy(w) for w in model.weights]
    assert found["bytes"] == sum(each.nbytes for each in stored)
    assert found["parameters"] == sum(each.size for each in stored if each.dtype.kind == "f")


class Unknown(layers.Layer):
    def build(self, shape):
        self.weight = self.add_weight(shape=(shape[-1], 3), name="weight")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.weight)


@pytest.mark.filterwarnings("ignore:The operations of unknown")
def test_unknown_operations_are_compared():
    models = {
        "unknown": keras.Sequential([keras.Input((4,)), Unknown()]),
        "known": keras.Sequential([keras.Input((4,)), layers.Dense(3)]),
    }
    for names in (("unknown",), ("known",), ("unknown", "known"), ("known", "unknown")):
        totals = compare({name: models[name] for name in names})
        assert totals["macs"].isna().tolist() == [name == "unknown" for name in names]
        ratio = totals["macs_ratio"]
        assert ratio.isna().tolist() == [n == "unknown" or names[0] == "unknown" for n in names]


def test_a_table_prints_all_of_its_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    found = footprint(network())
    assert all(column in repr(found) for column in found.columns)
    assert all(column in repr(found[found["macs"] > 0]) for column in found.columns)


def test_compare(rng):
    dense = keras.Sequential([keras.Input((20,)), layers.Dense(30)])
    pruned = keras.models.clone_model(dense)
    prune_to_sparsity(pruned, 0.9)
    thin = keras.Sequential([keras.Input((20,)), SACDense(30, "random", rank=3)])
    found = compare({"dense": dense, "pruned": pruned, "thin": thin})
    assert found.index.tolist() == ["dense", "pruned", "thin"]
    assert found["macs"].tolist() == [600, 600, 150]
    assert found["effective_macs_ratio"].tolist() == [1.0, 0.1, 0.25]
    assert found["parameters_ratio"]["thin"] == pytest.approx(180 / 630)
    assert found["sparse_bytes_ratio"]["pruned"] < 0.5
    assert "sparsity_ratio" not in found
    fast = compare({"a": dense}, compression=False)
    assert "gzip_bytes" not in fast
    with pytest.raises(ValueError, match=r"at least one model. Received: models=\{\}"):
        compare({})
    with pytest.raises(
        ValueError, match="must be a dict from names to.*Received: models=Sequential"
    ):
        compare(dense)


def test_bad_input():
    with pytest.raises(ValueError, match="has no weights yet"):
        footprint(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(ValueError, match=r"Expected a `keras.Model`. Received: Dense"):
        footprint(layers.Dense(2))
