"""Pruning of common model types, and training that continues on another backend."""

import keras
import numpy as np
import pytest

from keras_sac import BasisFinetuning, PolynomialDecay, PruningOptimizer, SACDense, bases, sparsity
from tests.children import python
from tests.marks import READERS
from tests.pruning.problem import BATCH, data, fitted, model, zeros


def schedule(**kwargs):
    return PolynomialDecay(0.5, 0.8, begin_step=0, end_step=30, frequency=5, **kwargs)


@keras.saving.register_keras_serializable(package="tests")
class PrunedSubclass(keras.Model):
    """No graph of layers, a nested model in it, and weights of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = keras.layers.MultiHeadAttention(2, 4)
        self.recurrent = keras.layers.LSTM(6)
        self.tail = keras.Sequential([keras.layers.Dense(5, activation="relu")])
        self.head = keras.layers.Dense(3)

    def call(self, x):
        return self.head(self.tail(self.recurrent(self.attention(x, x))))


def test_subclassed_attention_and_recurrent(rng, tmp_path):
    built = PrunedSubclass()
    built.compile(PruningOptimizer("adam", schedule()), "mse")
    x, y = rng.normal(size=(128, 5, 8)).astype("float32"), rng.normal(size=(128, 3))
    built.fit(x, y, batch_size=4, verbose=0)
    table = built.optimizer.report()
    pruned = table[table["pruned"]]
    # Four kernels of the attention, two of the LSTM, two of the dense layers.
    assert len(pruned) == 8
    assert pruned["sparsity"].tolist() == pytest.approx([0.8] * 8, abs=0.03)
    assert (table[~table["pruned"]]["reason"] != "").all()
    built.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(built.optimizer.masks.values(), loaded.optimizer.masks.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_convolutional_model_with_what_is_not_pruned(rng):
    inputs = keras.Input((8, 8, 2))
    hidden = keras.layers.SeparableConv2D(6, 3, name="separable")(inputs)
    hidden = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(hidden)
    hidden = keras.layers.BatchNormalization()(hidden)
    hidden = keras.layers.Conv2DTranspose(4, 2, name="transposed")(hidden)
    outputs = keras.layers.Dense(3, name="head")(keras.layers.Flatten()(hidden))
    built = keras.Model(inputs, outputs)
    built.compile(PruningOptimizer("adam", schedule()), "mse")
    x, y = rng.normal(size=(128, 8, 8, 2)), rng.normal(size=(128, 3))
    built.fit(x, y, batch_size=4, verbose=0)
    names = [path.split("/")[-2:] for path in built.optimizer.masks]
    assert names == [
        ["separable", "pointwise_kernel"],
        ["transposed", "kernel"],
        ["head", "kernel"],
    ]
    skipped = built.optimizer.report().query("not pruned")
    assert skipped["reason"].str.contains("depthwise").sum() == 2


def test_sac_layers_are_pruned_in_the_learner(rng):
    x = rng.normal(size=(256, 16)).astype("float32")
    built = keras.Sequential(
        [
            keras.Input((16,)),
            SACDense(12, bases.pca(x, rank=8), activation="relu"),
            keras.layers.Dense(4),
        ]
    )
    basis = keras.ops.convert_to_numpy(built.layers[0].basis)
    built.compile(PruningOptimizer("adam", schedule()), "mse")
    built.fit(x, rng.normal(size=(256, 4)), batch_size=8, verbose=0)
    table = sparsity(built).set_index("path")
    assert table.index[0].endswith("learner")
    assert table["sparsity"].tolist() == pytest.approx([0.8] * 2, abs=0.02)
    assert table.attrs["total"]["sparsity"] == pytest.approx(0.8, abs=0.02)
    np.testing.assert_array_equal(basis, keras.ops.convert_to_numpy(built.layers[0].basis))


def test_the_masks_survive_the_unfreezing_of_a_basis(rng):
    x = rng.normal(size=(256, 16)).astype("float32")
    built = keras.Sequential([keras.Input((16,)), SACDense(12, bases.pca(x, rank=8))])
    built.compile(PruningOptimizer("adam", schedule()), "mse")
    finetuning = BasisFinetuning(start_epoch=2)
    y = rng.normal(size=(256, 12))
    built.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[finetuning])
    assert built.optimizer.pruning_step == 128
    assert zeros(built)[0] == pytest.approx(0.8, abs=0.01)
    (mask,) = built.optimizer.masks.values()
    learner = keras.ops.convert_to_numpy(built.layers[0].learner)
    np.testing.assert_array_equal(learner != 0, mask)


CHILD = """
import sys
import keras
import numpy as np
import keras_sac
from tests.pruning.problem import BATCH, data
path = sys.argv[1]
model = keras.models.load_model(path + "/model.keras")
before = list(model.optimizer.masks.values())
x, y = data(20)
model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
np.savez(path + "/child.npz", *model.get_weights(), *before, step=model.optimizer.pruning_step)
"""


@pytest.mark.parametrize("other", READERS)
def test_training_goes_on_on_another_backend(tmp_path, other):
    built = fitted(PruningOptimizer(keras.optimizers.SGD(0.05), schedule()), steps=20)
    built.save(tmp_path / "model.keras")
    masks = list(built.optimizer.masks.values())
    python("-c", CHILD, tmp_path, KERAS_BACKEND=other)
    built.fit(*data(20), batch_size=BATCH, shuffle=False, verbose=0)
    with np.load(tmp_path / "child.npz") as loaded:
        found = [loaded[f"arr_{i}"] for i in range(6)]
        assert loaded["step"] == 40
    for mine, theirs in zip(built.get_weights(), found[:4], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(masks, found[4:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
def test_torch_compile_and_xla_agree_with_the_plain_step():
    plain = fitted(PruningOptimizer(keras.optimizers.SGD(0.1), schedule()), built=model())
    jitted = fitted(
        PruningOptimizer(keras.optimizers.SGD(0.1), schedule()), built=model(), jit_compile=True
    )
    for a, b in zip(plain.get_weights(), jitted.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
