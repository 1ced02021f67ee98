"""Every form of data that a model takes, and what is refused."""

import keras
import numpy as np
import pytest

from keras_sac import activation_sparsity
from tests.analysis.counting import counted, relu, rows

layers = keras.layers


@pytest.fixture
def x(rng):
    return rng.normal(size=(23, 6)).astype("float32")


@pytest.mark.parametrize("form", ["list", "tuple", "dict", "batches"])
def test_several_inputs_and_outputs(rng, x, form):
    y = rng.normal(size=(23, 3)).astype("float32")
    a, b = keras.Input((6,), name="a"), keras.Input((3,), name="b")
    out = layers.Concatenate(name="both")([layers.ReLU(name="left")(a), b])
    structure = {"a": a, "b": b} if form == "dict" else [a, b]
    model = keras.Model(structure, [out, layers.ReLU(name="right")(b)])
    data = {
        "list": [x, y],
        "tuple": (x, y),
        "dict": {"b": y, "a": x},
        "batches": (((x[i : i + 6], y[i : i + 6]), None) for i in range(0, 23, 6)),
    }[form]
    assert rows(activation_sparsity(model, data, batch_size=5)) == {
        "left": counted(relu(x)),
        "both": counted(np.concatenate([relu(x), y], axis=1)),
        "right": counted(relu(y)),
    }


class Batches(keras.utils.PyDataset):
    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.x[6 * index : 6 * index + 6], np.zeros(6)


class Endless(Batches):
    def __init__(self):
        super().__init__(np.zeros((6, 6)))

    @property
    def num_batches(self):
        return None


def test_iterables_of_batches_are_read_once(x):
    model = keras.Sequential([keras.Input((6,)), layers.ReLU(name="relu")])
    expected = {"relu": counted(relu(x))}
    assert rows(activation_sparsity(model, Batches(x))) == expected
    assert rows(activation_sparsity(model, iter(np.split(x, [2, 20])))) == expected
    assert rows(activation_sparsity(model, keras.ops.convert_to_tensor(x))) == expected
    assert rows(activation_sparsity(model, x.astype("float64"))) == expected


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 6)), r"`data` has no samples: a ndarray of shape \(0, 6\)"),
        ([np.zeros((0, 6))], "`data` has no samples: a list"),
        (iter([]), "`data` has no samples"),
        ([], "`data` must hold arrays. Received: a list"),
        ([[1.0, 2.0]], "Pass `numpy.asarray"),
        (None, "`data` must be an array, or a list, .*. Received: NoneType"),
        (3.0, "Received: float"),
        (Endless(), "The PyDataset is infinite"),
        (np.float32(3), r"The inputs have the shapes \[\(\)\]"),
        ([np.zeros((2, 6)), np.zeros((3, 6))], r"shapes \[\(2, 6\), \(3, 6\)\]"),
    ],
)
def test_data_that_are_none(x, message):
    model = keras.Sequential([keras.Input((6,)), layers.ReLU()])
    with pytest.raises(ValueError, match=message):
        activation_sparsity(model, x)
