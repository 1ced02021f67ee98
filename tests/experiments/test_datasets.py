"""Data sets: formats, validation, and labels."""

import pickle

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from harness import ExperimentError, dataset_files, datasets

NAMES = ("x_train", "y_train", "x_test", "y_test")


def save(path, arrays):
    np.savez(path, **dict(zip(NAMES, arrays, strict=True)))


def test_npz_and_batches_hold_the_same_data(tmp_path, cifar_batches, cifar_arrays):
    (tmp_path / "other").mkdir()
    save(tmp_path / "other" / "cifar10.npz", cifar_arrays)
    from_npz = datasets.load("cifar10", tmp_path / "other")
    from_batches = datasets.load("cifar10", cifar_batches)
    for name, expected in zip(NAMES, cifar_arrays, strict=True):
        np.testing.assert_array_equal(getattr(from_npz, name), expected)
        np.testing.assert_array_equal(getattr(from_batches, name), expected)
    assert from_npz.sha256 == from_batches.sha256
    assert from_npz.label == from_batches.label == "CIFAR-10 (unverified copy)"
    assert datasets.load("cifar10", cifar_batches / "cifar-10-batches-py").sha256 == from_npz.sha256


def test_original_batches_are_known_by_their_md5(cifar_batches, monkeypatch):
    folder = cifar_batches / "cifar-10-batches-py"
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    md5 = {
        name: dataset_files.hashlib.md5(content[name]).hexdigest()
        for name in dataset_files.ORIGINAL_MD5
    }
    monkeypatch.setattr(dataset_files, "ORIGINAL_MD5", md5)
    assert datasets.load("cifar10", cifar_batches).label == "CIFAR-10 (original files)"


def test_known_hash_gives_the_label(tmp_path, cifar_arrays, monkeypatch):
    save(tmp_path / "cifar10.npz", cifar_arrays)
    digest = datasets.load("cifar10", tmp_path).sha256
    monkeypatch.setitem(datasets.KNOWN_HASHES, digest, "CIFAR-10 (JPEG re-encoded)")
    assert datasets.load("cifar10", tmp_path).label == "CIFAR-10 (JPEG re-encoded)"


def test_hash_sees_pixels_labels_and_shapes(cifar_arrays):
    digest = datasets.array_hash(*cifar_arrays)
    for index in range(4):
        changed = [array.copy() for array in cifar_arrays]
        changed[index].flat[-1] ^= 1
        assert datasets.array_hash(*changed) != digest
    x = cifar_arrays[0]
    assert datasets.array_hash(x) != datasets.array_hash(x.reshape(25, 2, 32, 32, 3))


def test_mnist_npz_gets_a_channel_axis_and_column_labels_are_accepted(tmp_path, rng):
    x, y = rng.integers(0, 256, (6, 28, 28), "uint8"), np.arange(6)[:, None]
    save(tmp_path / "mnist.npz", (x, y, x, y))
    mnist = datasets.load("mnist", tmp_path)
    assert mnist.x_train.shape == (6, 28, 28, 1)
    assert mnist.y_test.tolist() == list(range(6))


def test_digits_are_whole_and_stratified():
    digits = datasets.load("digits")
    assert digits.label == "digits (scikit-learn)"
    assert len(digits.x_train) + len(digits.x_test) == len(load_digits().target)
    fraction = np.bincount(digits.y_test) / np.bincount(load_digits().target)
    np.testing.assert_allclose(fraction, 375 / 1797, atol=0.01)


def test_limit_keeps_the_first_samples():
    digits = datasets.load("digits")
    np.testing.assert_array_equal(digits.limited(7).x_train, digits.x_train[:7])
    assert digits.limited(7).sha256 == digits.sha256
    assert digits.limited(None) is digits
    with pytest.raises(
        ExperimentError, match=r"--limit must be between 2 and 1422.* Received: 1423"
    ):
        digits.limited(1423)


def test_without_network_the_error_names_both_solutions(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on example: None -- Name or service not known")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    with pytest.raises(ExperimentError, match=r"connect to the network.*--data-dir"):
        datasets.load("cifar10")


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_downloaded_images_are_channels_last(layout, monkeypatch, cifar_arrays):
    x_train, y_train, x_test, y_test = cifar_arrays
    axes = (0, 3, 1, 2) if layout == "channels_first" else (0, 1, 2, 3)
    data = (x_train.transpose(axes), y_train[:, None]), (x_test.transpose(axes), y_test[:, None])
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: data)
    monkeypatch.setattr(keras.config, "image_data_format", lambda: layout)
    loaded = datasets.load("cifar10")
    np.testing.assert_array_equal(loaded.x_train, x_train)
    assert loaded.label == "CIFAR-10 (keras.datasets)"


def test_folders_without_the_data(tmp_path):
    with pytest.raises(
        ExperimentError, match=r"a folder with cifar-10-batches-py/ or cifar10.npz.*no such file"
    ):
        datasets.load("cifar10", tmp_path)
    with pytest.raises(ExperimentError, match=r"a folder with mnist.npz.*is not a folder"):
        datasets.load("mnist", tmp_path / "absent")
    with pytest.raises(ExperimentError, match="Remove --data-dir"):
        datasets.load("digits", tmp_path)
    with pytest.raises(ExperimentError, match="must be one of cifar10, mnist, digits"):
        datasets.load("cifar100")


def test_npz_that_is_truncated_or_foreign(tmp_path, cifar_arrays):
    path = tmp_path / "cifar10.npz"
    save(path, cifar_arrays)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no zip at all", whole[:2000] + whole[3000:]):
        path.write_bytes(content)
        with pytest.raises(ExperimentError, match="cannot be read as an"):
            datasets.load("cifar10", tmp_path)
    np.savez(path, x_train=cifar_arrays[0])
    with pytest.raises(ExperimentError, match="no array named y_train, x_test, y_test"):
        datasets.load("cifar10", tmp_path)
    np.save(tmp_path / "single.npy", cifar_arrays[0])
    path.write_bytes((tmp_path / "single.npy").read_bytes())
    with pytest.raises(ExperimentError, match="cannot be read as an"):
        datasets.load("cifar10", tmp_path)


def test_npz_with_pickled_objects_is_not_unpickled(tmp_path, cifar_arrays):
    x_train, y_train, x_test, _ = cifar_arrays
    objects = np.array([{"a": 1}] * 10, dtype=object)
    np.savez(
        tmp_path / "cifar10.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=objects
    )
    with pytest.raises(ExperimentError, match="cannot be read as an"):
        datasets.load("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (
            0,
            lambda x: x[:, :28],
            r"x_train of CIFAR-10 .* Received: uint8 of shape \(50, 28, 32, 3\)",
        ),
        (0, lambda x: x.astype("float32"), "Received: float32"),
        (2, lambda x: x[:0], r"x_test .* Received: uint8 of shape \(0, 32, 32, 3\)"),
        (1, lambda y: y[:-1], r"y_train .* Received: int64 of shape \(49,\)"),
        (1, lambda y: y / 10, "must hold one integer label"),
        (3, lambda y: y + 1, "labels from 0 to 9. Received: 1 to 10"),
    ],
)
def test_npz_with_wrong_content(tmp_path, cifar_arrays, index, change, message):
    arrays = list(cifar_arrays)
    arrays[index] = change(arrays[index])
    save(tmp_path / "cifar10.npz", arrays)
    with pytest.raises(ExperimentError, match=message):
        datasets.load("cifar10", tmp_path)


def test_batches_that_are_missing_or_damaged(cifar_batches):
    path = cifar_batches / "cifar-10-batches-py" / "data_batch_3"
    whole = path.read_bytes()
    contents = {
        whole[:-100]: "is not a CIFAR-10 batch",
        b"": "is not a CIFAR-10 batch",
        b"a line of text\n": "is not a CIFAR-10 batch",
        pickle.dumps([1, 2], protocol=2): "is not a CIFAR-10 batch",
        pickle.dumps({b"data": np.zeros((2, 4), "uint8"), b"labels": [0, 1]}, protocol=2): (
            r"shape \(2, 4\)"
        ),
    }
    for content, message in contents.items():
        path.write_bytes(content)
        with pytest.raises(ExperimentError, match=message):
            datasets.load("cifar10", cifar_batches)
    path.unlink()
    with pytest.raises(ExperimentError, match="lacks data_batch_3"):
        datasets.load("cifar10", cifar_batches)


class _Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_cannot_run_code(cifar_batches, capsys):
    path = cifar_batches / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({b"data": _Evil(), b"labels": []}, protocol=2))
    with pytest.raises(ExperimentError, match="is not allowed here"):
        datasets.load("cifar10", cifar_batches)
    assert "code ran" not in capsys.readouterr().out
