"""The destination of `save_sparse`, and bad arguments."""

import collections
import errno
import shutil
import zipfile

import keras
import pytest

from keras_sac import load_sparse, save_sparse
from tests.sparse_file.sparse_models import conv, dense

layers = keras.layers


def test_a_file_that_is_there_stays_unless_asked(tmp_path):
    path = tmp_path / "m"
    save_sparse(dense(), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_sparse(conv(), path)
    assert path.read_bytes() == before
    save_sparse(conv(), path, overwrite=True)
    assert isinstance(load_sparse(path).layers[0], layers.Conv2D)
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        save_sparse(conv(), tmp_path / "folder", overwrite=True)
    assert {each.name for each in tmp_path.iterdir()} == {"m", "folder"}


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = save_sparse(dense(), tmp_path / "m")
    before = path.read_bytes()

    def full_disk(self, data):
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_sparse(conv(), path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": "int8"}, "`values` must be one of None, 'float16'. Received: values='int8'"),
        ({"level": 0}, "`level` must be an integer >= 1"),
        ({"level": 23}, "`level` must be an integer <= 22. Received: level=23"),
        ({"level": "high"}, "`level` must be an integer"),
    ],
)
def test_refuses_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        save_sparse(dense(), tmp_path / "m", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (keras.Sequential([layers.Dense(3)]), "has no weights yet. Call it on a batch"),
        ("model", "Expected a `keras.Model`. Received: str"),
        (None, "Expected a `keras.Model`. Received: NoneType"),
    ],
)
def test_refuses_what_is_no_built_model(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        save_sparse(model, tmp_path / "m")
    path = save_sparse(dense(), tmp_path / "m")
    if model is not None:
        with pytest.raises(ValueError, match=message):
            load_sparse(path, model=model)


def test_the_folder_of_temporary_files_may_be_full_while_saving(tmp_path, monkeypatch):
    save, places = keras.Model.save, []

    def noted(model, path, **options):
        places.append(path)
        save(model, path, **options)

    monkeypatch.setattr(keras.Model, "save", noted)
    path = save_sparse(conv(), tmp_path / "m")
    # Of the two folders, only that of the target needs room for the weights.
    assert [place.is_relative_to(tmp_path) for place in places] == [True]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_folder_of_temporary_files_is_named_while_loading(tmp_path, monkeypatch):
    path = save_sparse(dense(), tmp_path / "m")
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(100, 90, 10))
    for model in (None, dense()):
        with pytest.raises(OSError, match="10 bytes left; expected about .* TMPDIR") as caught:
            load_sparse(path, model=model)
        assert caught.value.errno == errno.ENOSPC


def test_the_longest_names(tmp_path):
    path = save_sparse(dense(), tmp_path / ("n" * 255))
    save_sparse(conv(), path, overwrite=True)
    assert isinstance(load_sparse(path).layers[0], layers.Conv2D)
    assert list(tmp_path.iterdir()) == [path]
