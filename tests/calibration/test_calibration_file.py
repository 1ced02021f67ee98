"""`Calibration.save` and `load`: the same results, and damaged files."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops

from keras_sac import Calibration, InvalidFileError, convert_to_sac, prune_with_data


def network():
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            L.Conv2D(8, 3, groups=2, use_bias=False, name="groups"),
            L.BatchNormalization(),
            L.Conv2D(8, 3, activation="relu", name="conv"),
            L.Flatten(),
            L.Dense(16, name="wide"),
            L.Dense(3, name="last"),
        ]
    )


@pytest.fixture
def saved(rng, tmp_path):
    model = network()
    model.compile("sgd", "mse", metrics=["mae"])
    x = rng.normal(size=(30, 6, 6, 4)).astype("float32")
    y = rng.normal(size=(30, 3)).astype("float32")
    calibration = Calibration.from_data(model, x, y, batch_size=8, max_features=20, verbose=0)
    calibration.save(tmp_path / "calibration.npz")
    model.save(tmp_path / "model.keras")
    return model, calibration, tmp_path


def test_the_same_results(saved):
    model, calibration, folder = saved
    again = keras.saving.load_model(folder / "model.keras")
    loaded = Calibration.load(folder / "calibration.npz", again)
    assert loaded.summary().equals(calibration.summary())
    assert (loaded.loss, loaded.samples) == (calibration.loss, 30)
    for change in (
        lambda m, c: convert_to_sac(m, c, parameters=0.6, round_to=2, verbose=0),
        lambda m, c: prune_with_data(m, c, sparsity=0.7, verbose=0),
    ):
        one, first = change(model, calibration)
        two, second = change(again, loaded)
        assert first.equals(second)
        for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_inputs_and_labels_in_structures(rng, tmp_path):
    one, two = keras.Input((4,), name="one"), keras.Input((3,), name="two")
    joined = L.Concatenate()([one, two])
    outputs = {"a": L.Dense(2, name="a")(joined), "b": L.Dense(1, name="b")(joined)}
    model = keras.Model({"one": one, "two": two}, outputs)
    x = {"one": rng.normal(size=(9, 4)), "two": rng.normal(size=(9, 3))}
    y = {"a": rng.normal(size=(9, 2)), "b": rng.normal(size=(9, 1))}
    loss = {"a": "mse", "b": "mae"}
    made = Calibration.from_data(model, x, y, loss=loss, batch_size=4, verbose=0)
    made.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz", model, loss=loss)
    for old, new in zip(made.batches(), loaded.batches(), strict=True):
        keras.tree.map_structure(np.testing.assert_array_equal, old, new)
    assert loaded.mean_loss(model) == pytest.approx(made.loss, rel=1e-6)


def test_targets_are_kept(rng, tmp_path):
    model = network()
    x = rng.normal(size=(9, 6, 6, 4)).astype("float32")
    made = Calibration.from_data(model, x, targets="conv|last", verbose=0)
    made.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz", model)
    assert [each.key for each in loaded.kernels] == ["conv:kernel", "last:kernel"]
    assert loaded.reasons == made.reasons


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="texts need TensorFlow")
def test_inputs_that_are_texts(tmp_path):
    vectorize = L.TextVectorization(output_sequence_length=3, vocabulary=["good", "bad", "film"])
    model = keras.Sequential(
        [keras.Input((), dtype="string"), vectorize, L.Embedding(6, 4), L.Dense(2, name="last")]
    )
    x = np.array(["good film", "bad film", "a film", "very bad"])
    made = Calibration.from_data(model, ops.convert_to_tensor(x), verbose=0)
    made.save(tmp_path / "c.npz")
    loaded = Calibration.load(tmp_path / "c.npz", model)
    one, two = (each.fits(each.kernels[0])[0].inputs.matrix for each in (made, loaded))
    np.testing.assert_array_equal(one, two)
    prune_with_data(model, loaded, sparsity=0.5, verbose=0)


def test_another_model(saved):
    model, _, folder = saved
    model.get_layer("last").bias.assign([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="another model"):
        Calibration.load(folder / "calibration.npz", model)


def test_a_loss_that_is_missing(saved):
    _, _, folder = saved
    again = keras.saving.load_model(folder / "model.keras", compile=False)
    with pytest.raises(ValueError, match="not compiled"):
        Calibration.load(folder / "calibration.npz", again)
    assert Calibration.load(folder / "calibration.npz", again, loss="mse").loss is not None


def test_damaged_files(saved):
    model, _, folder = saved
    path = folder / "calibration.npz"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InvalidFileError):
            Calibration.load(path, model)
    for place in range(200, len(whole), len(whole) // 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(InvalidFileError):
            Calibration.load(path, model)
    with pytest.raises(InvalidFileError):
        Calibration.load(folder / "model.keras", model)
    with pytest.raises(FileNotFoundError):
        Calibration.load(folder / "nothing.npz", model)


@pytest.mark.parametrize("missing", ["facts", "0/0/mean", "0/1/count", "samples/1/x", "2/0/factor"])
def test_files_that_miss_something(missing, saved):
    model, _, folder = saved
    path = folder / "calibration.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    assert missing in arrays
    del arrays[missing]
    np.savez(path, **arrays)
    with pytest.raises(InvalidFileError):
        Calibration.load(path, model)
