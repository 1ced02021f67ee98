"""A model saved on one backend loads on the others, with the same outputs."""

import keras
import numpy as np
import pytest

from keras_sac import SACConv2D, SACDense, SACEinsumDense, bases
from tests.children import python
from tests.marks import BACKEND, READERS

CHILD = """
import sys
import numpy as np
import keras
import keras_sac
folder = sys.argv[1]
# Keras 3.15 saves its torch optimizers under a name that only torch knows: compile anew.
model = keras.models.load_model(folder + "/model.keras", compile=False)
model.compile("adam", "mse")
x = np.load(folder + "/x.npy")
np.save(folder + f"/{keras.backend.backend()}.npy", model.predict(x, verbose=0))
random = keras_sac.SACDense(3, "random", rank=4, seed=11)
random.build((None, 20))
np.save(folder + f"/{keras.backend.backend()}-random.npy", keras.ops.convert_to_numpy(random.basis))
before = model.evaluate(x, np.zeros((len(x), 4)), verbose=0)
model.fit(x, np.zeros((len(x), 4)), epochs=2, verbose=0)
assert model.evaluate(x, np.zeros((len(x), 4)), verbose=0) < before
"""


def make(x):
    conv = SACConv2D(6, 3, "pca", rank=3, center=True, activation="relu", padding="same")
    conv.adapt(x)
    inputs = keras.Input(x.shape[1:])
    hidden = keras.layers.Reshape((-1, 6))(conv(inputs))
    hidden = SACEinsumDense("abc,cd->abd", (None, 5), "dct", rank=2, bias_axes="d")(hidden)
    hidden = keras.layers.Flatten()(hidden)
    width = hidden.shape[-1]
    hidden = SACDense(8, bases.random_orthogonal(width, 7, seed=3), activation="tanh")(hidden)
    return keras.Model(inputs, SACDense(4, "random", rank=2)(hidden))


@pytest.mark.parametrize("other", [*READERS, pytest.param(BACKEND, marks=pytest.mark.slow)])
def test_saved_here_loaded_there(rng, tmp_path, other):
    x = rng.normal(size=(10, 6, 5, 2)).astype("float32")
    model = make(x)
    model.compile("adam", "mse")
    model.fit(x, rng.normal(size=(10, 4)), epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    python("-c", CHILD, tmp_path, KERAS_BACKEND=other)
    np.testing.assert_allclose(
        np.load(tmp_path / f"{other}.npy"), model.predict(x, verbose=0), atol=1e-5
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / f"{other}-random.npy"), bases.random_orthogonal(20, 4, 11).matrix
    )
