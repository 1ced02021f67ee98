"""Files are written whole or not at all."""

import collections
import errno
import pathlib
import shutil

import pytest

from keras_sac._io._whole_file import check_free, written

pytestmark = pytest.mark.backend_free


def test_the_path_is_checked(tmp_path):
    (tmp_path / "there.onnx").write_text("old")
    assert check_free(tmp_path / "new.onnx", ".onnx", False) == tmp_path / "new.onnx"
    assert check_free(str(tmp_path / "there.onnx"), ".onnx", True) == tmp_path / "there.onnx"
    with pytest.raises(FileExistsError, match="overwrite=True"):
        check_free(tmp_path / "there.onnx", ".onnx", False)
    with pytest.raises(ValueError, match="must end with '.onnx'. Received: .*new.tflite"):
        check_free(tmp_path / "new.tflite", ".onnx", False)
    with pytest.raises(FileNotFoundError, match="The folder to write into does not exist"):
        check_free(tmp_path / "missing" / "new.onnx", ".onnx", False)


def test_what_was_written_is_moved_with_what_is_beside_it(tmp_path):
    with written(tmp_path / "m.xml", 10, overwrite=False) as new:
        new.write_text("graph")
        new.with_suffix(".bin").write_text("weights")
        assert [each.name[:18] for each in tmp_path.iterdir()] == [".keras_sac-locked-"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    assert (tmp_path / "m.bin").read_text() == "weights"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, is_folder):
    target = tmp_path / "old"
    inside = target / "file" if is_folder else target
    inside.parent.mkdir(exist_ok=True)
    inside.write_text("old")

    def fail():
        with written(target, 10, overwrite=True) as new:
            new.mkdir()
            (new / "half").write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert inside.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with written(target, 10, overwrite=True) as new:
        new.mkdir()
        (new / "new").write_text("new")
    assert [each.name for each in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_companion_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "m.bin").write_text("somebody else's")

    def write():
        with written(tmp_path / "m.xml", 10, overwrite=False) as new:
            new.write_text("graph")
            new.with_suffix(".bin").write_text("weights")

    with pytest.raises(FileExistsError, match="overwrite=True"):
        write()
    assert [each.name for each in tmp_path.iterdir()] == ["m.bin"]
    assert (tmp_path / "m.bin").read_text() == "somebody else's"


def test_no_room(tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 10))
    with (
        pytest.raises(OSError, match="10 bytes left; expected about 30") as caught,
        written(tmp_path / "new", 20, overwrite=False),
    ):
        pytest.fail("it should not begin")
    assert caught.value.errno == errno.ENOSPC
    assert list(pathlib.Path(tmp_path).iterdir()) == []
