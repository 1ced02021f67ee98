"""What killed writes leave is removed by the next write, and nothing that is in use."""

import os
import signal
import subprocess
import sys
import time

import pytest

from keras_sac._io import _hidden_folder, written

pytestmark = pytest.mark.backend_free

WRITER = """
import pathlib, sys, time
from keras_sac._io import written
with written(pathlib.Path(sys.argv[1]), overwrite=True) as new:
    new.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that is in the middle of a write."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "model")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write(path, text="new"):
    with written(path, overwrite=True) as new:
        new.write_text(text)


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_after_a_kill_the_next_write_removes_what_was_left(tmp_path, writer):
    write(tmp_path / "other")
    # The first process is alive, so its folder stays.
    assert len(names(tmp_path)) == 2
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(names(tmp_path)) == 2
    write(tmp_path / "other")
    assert names(tmp_path) == ["other"]


def test_a_write_within_a_write_removes_nothing_of_it(tmp_path):
    with written(tmp_path / "outer", overwrite=False) as outer:
        outer.write_text("outer")
        write(tmp_path / "inner")
        assert outer.read_text() == "outer"
    assert names(tmp_path) == ["inner", "outer"]


def test_a_folder_without_a_lock_is_removed_only_if_it_is_old_and_empty(tmp_path):
    for name in ("new-young", "new-old", "new-old-full", "unlocked-old"):
        folder = tmp_path / f".keras_sac-{name}"
        folder.mkdir()
        if name.endswith("full"):
            (folder / "file").write_text("text")
        if "old" in name:
            os.utime(folder, (time.time() - 7200,) * 2)
    write(tmp_path / "a")
    assert names(tmp_path) == [
        ".keras_sac-new-old-full",
        ".keras_sac-new-young",
        ".keras_sac-unlocked-old",
        "a",
    ]


def test_folders_of_others_stay(tmp_path):
    (tmp_path / ".keras_sacred").mkdir()
    (tmp_path / ".hidden").mkdir()
    write(tmp_path / "a")
    assert names(tmp_path) == [".hidden", ".keras_sacred", "a"]


@pytest.mark.parametrize("letter", ["n", "ü"])
def test_the_longest_names(tmp_path, letter):
    name = letter * (255 // len(letter.encode()))
    write(tmp_path / name)
    write(tmp_path / name, "newer")
    assert (tmp_path / name).read_text() == "newer"
    assert names(tmp_path) == [name]


def folder_of(path, text):
    path.mkdir()
    (path / "file").write_text(text)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(_hidden_folder, "_exchanged", lambda one, other: False)
    folder_of(tmp_path / "model", "old")
    with written(tmp_path / "model", overwrite=True) as new:
        folder_of(new, "new")
    assert (tmp_path / "model" / "file").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_folders_are_exchanged_in_one_step(tmp_path):
    folder_of(tmp_path / "one", "1")
    folder_of(tmp_path / "other", "2")
    if not _hidden_folder._exchanged(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot exchange two folders")
    assert (tmp_path / "one" / "file").read_text() == "2"
    assert (tmp_path / "other" / "file").read_text() == "1"


def test_an_old_folder_is_put_back_after_a_kill_between_two_renames(tmp_path):
    aside = tmp_path / ".keras_sac-locked-x" / "replaced"
    aside.mkdir(parents=True)
    folder_of(aside / "model", "old")
    write(tmp_path / "other")
    assert (tmp_path / "model" / "file").read_text() == "old"
    assert names(tmp_path) == ["model", "other"]


def test_a_link_whose_target_is_missing_is_not_replaced_unasked(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "missing")
    with (
        pytest.raises(FileExistsError, match="overwrite=True"),
        written(link, overwrite=False) as new,
    ):
        new.write_text("new")
    assert link.is_symlink()
    write(link)
    assert link.read_text() == "new"
    assert names(tmp_path) == ["link"]
