"""A task in another process: its result, its errors, and the packages that it must not import."""

import pytest

from keras_sac._run import ChildError, run

pytestmark = pytest.mark.backend_free


def task(folder, code, **values):
    path = folder / "work.py"
    path.write_text(code)
    return {"file": str(path), **values}


def test_values_go_in_and_out(tmp_path):
    code = "def main(task):\n    return {'sum': sum(task['numbers'])}\n"
    assert run(task(tmp_path, code, numbers=[1, 2, 4]))["sum"] == 7


def test_the_environment(tmp_path):
    code = "import os\ndef main(task):\n    return {'is': os.environ['SOME_NAME']}\n"
    assert run(task(tmp_path, code), SOME_NAME="here") == {"is": "here"}


def test_a_variable_is_taken_away(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_NAME", "here")
    code = "import os\ndef main(task):\n    return {'is': os.environ.get('SOME_NAME')}\n"
    assert run(task(tmp_path, code)) == {"is": "here"}
    assert run(task(tmp_path, code), SOME_NAME=None) == {"is": None}


def test_an_exception_comes_back(tmp_path):
    code = "def main(task):\n    raise KeyError('what is missing')\n"
    with pytest.raises(ChildError, match="KeyError: 'what is missing'") as caught:
        run(task(tmp_path, code))
    assert caught.value.kind == "KeyError"


def test_a_process_that_ends_by_itself(tmp_path):
    code = (
        "import os, sys\ndef main(task):\n    print('last words', file=sys.stderr)\n    os._exit(3)"
    )
    code = code.replace("os._exit(3)", "sys.stderr.flush(); os._exit(3)")
    with pytest.raises(ChildError, match="(?s)status 3.*last words"):
        run(task(tmp_path, code))


def test_blocked_packages_cannot_be_imported(tmp_path):
    code = "def main(task):\n    import keras_sac\n    return {}\n"
    with pytest.raises(ChildError, match="keras_sac"):
        run(task(tmp_path, code, blocked=["keras_sac"]))


def test_nothing_of_the_package_is_there_by_itself(tmp_path):
    code = """
import sys
def main(task):
    return {"loaded": [n for n in sys.modules if n.startswith("keras")], "path": sys.path[0]}
"""
    found = run(task(tmp_path, code))
    assert found["loaded"] == []
    assert "deployment" not in found["path"]
