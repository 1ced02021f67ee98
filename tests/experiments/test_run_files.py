"""Result files: complete, resumable, never of different settings."""

import json

import pytest

from harness import ExperimentError
from harness.atomic_files import replacing, write_text
from harness.run_files import RunFiles, fingerprint

pytestmark = pytest.mark.backend_free

SETTINGS = {"epochs": 3, "dataset": "digits", "ranks": (1, 2)}
ROW = {"method": "pca", "rank": 8}


def test_a_saved_run_is_found_again(tmp_path):
    files = RunFiles(tmp_path, SETTINGS)
    assert files.find("pca-8", 42, ROW) is None
    path = files.save("pca-8", 42, ROW, {"result": {"test_accuracy": 0.5}})
    assert path == tmp_path / "runs" / "pca-8-seed42.json"
    again = RunFiles(tmp_path, SETTINGS)
    assert again.find("pca-8", 42, ROW)["result"] == {"test_accuracy": 0.5}
    assert again.find("pca-8", 43, ROW) is None
    assert len(again.load_all()) == 1


def test_numbers_that_are_not_finite_are_null(tmp_path):
    files = RunFiles(tmp_path, SETTINGS)
    path = files.save("dense", 1, {}, {"history": {"loss": [1.0, float("nan"), float("inf")]}})
    assert json.loads(path.read_text())["history"]["loss"] == [1.0, None, None]


def test_fingerprint_depends_on_every_setting():
    base = fingerprint(SETTINGS, ROW)
    assert base == fingerprint(dict(reversed(SETTINGS.items())), ROW)
    assert base != fingerprint({**SETTINGS, "epochs": 4}, ROW)
    assert base != fingerprint(SETTINGS, {**ROW, "rank": 9})


def test_other_settings_are_never_mixed(tmp_path):
    RunFiles(tmp_path, SETTINGS).save("pca-8", 42, ROW, {})
    with pytest.raises(ExperimentError, match=r"epochs is 3 in the file and 4 now.*--output-dir"):
        RunFiles(tmp_path, {**SETTINGS, "epochs": 4})
    with pytest.raises(ExperimentError, match=r"rank is 8 in the file and 9 now.*--output-dir"):
        RunFiles(tmp_path, SETTINGS).find("pca-8", 42, {**ROW, "rank": 9})


def test_an_edited_run_is_refused(tmp_path):
    files = RunFiles(tmp_path, SETTINGS)
    path = files.save("pca-8", 42, ROW, {})
    path.write_text(path.read_text().replace(fingerprint(SETTINGS, ROW), "0" * 16))
    with pytest.raises(ExperimentError, match="the file was edited"):
        files.find("pca-8", 42, ROW)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"format": "keras_sac exp', "truncated or not JSON"),
        ("", "truncated or not JSON"),
        ("[1, 2]", "is not a run of this program"),
        ('{"row": "pca-8"}', "is not a run of this program"),
        ('{"format": "keras_sac experiment run 1", "row": "a"}', "is not a run of this program"),
    ],
)
def test_truncated_and_foreign_files_are_named(tmp_path, content, message):
    path = tmp_path / "runs" / "pca-8-seed42.json"
    write_text(path, content)
    with pytest.raises(ExperimentError, match=message) as error:
        RunFiles(tmp_path, SETTINGS)
    assert str(path) in str(error.value)


def test_a_failed_write_leaves_nothing(tmp_path):
    files = RunFiles(tmp_path, SETTINGS)
    with pytest.raises(TypeError):
        files.save("dense", 1, {}, {"what": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "runs" / "table.md", "\ud800")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ExperimentError, match="must be a folder. Received: .*out, which is a file"):
        RunFiles(tmp_path / "out", SETTINGS)


def test_a_folder_that_cannot_be_written_is_found_before_the_first_run(tmp_path):
    files = RunFiles(tmp_path / "new", SETTINGS)
    files.prepare()
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    (tmp_path / "file").write_text("")
    files = RunFiles(tmp_path / "file" / "out", SETTINGS)
    with pytest.raises(OSError, match="file"):
        files.prepare()


def test_a_row_name_that_would_leave_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must consist of lower-case letters"):
        RunFiles(tmp_path, SETTINGS).save("../x", 1, {}, {})


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.md"
    write_text(path, "old")

    def fail():
        with replacing(path) as part:
            part.write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("table.md", "old")]
