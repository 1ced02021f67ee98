"""Named arrays are written whole or not at all; bases test what is read from damaged files."""

import numpy as np
import pytest

from keras_sac._io import read_npz, write_npz

pytestmark = pytest.mark.backend_free


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "arrays"
    write_npz(path, "ours/1", {"a": np.zeros(3)})
    write_npz(path, "ours/1", {"a": np.eye(2)})
    np.testing.assert_array_equal(read_npz(path, "ours/1")["a"], np.eye(2))
    # The name is kept as it is, and nothing is beside it.
    assert list(tmp_path.iterdir()) == [path]


def test_objects_leave_the_old_file(tmp_path):
    path = tmp_path / "arrays.npz"
    write_npz(path, "ours/1", {"a": np.eye(2)})
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz(path, "ours/1", {"a": np.array([{}], dtype=object)})
    np.testing.assert_array_equal(read_npz(path, "ours/1")["a"], np.eye(2))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="path of a file"):
        write_npz(tmp_path / "folder", "ours/1", {"a": np.eye(2)})
    assert (tmp_path / "folder").is_dir()


def test_the_error_names_both_formats_and_the_advice(tmp_path):
    path = tmp_path / "arrays.npz"
    write_npz(path, "ours/1", {"a": np.eye(2)})
    message = r"format 'other/2'.*Received: .*format 'ours/1'.*\['a'\]\. Use the other loader\."
    with pytest.raises(ValueError, match=message):
        read_npz(path, "other/2", otherwise="Use the other loader.")
