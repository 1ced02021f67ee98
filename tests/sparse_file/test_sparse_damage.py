"""A changed file is refused, and nothing of it is kept."""

import json
import tempfile
import threading
import tracemalloc
import warnings
import zipfile

import keras
import numpy as np
import pytest

from keras_sac import InvalidFileError, load_sparse, save_sparse
from keras_sac._sparse_array._zstd import compress
from keras_sac.sparse_file import _zip_container
from keras_sac.sparse_file._claims import variables_limited_to
from keras_sac.sparse_file._zip_container import member, new_archive
from tests.sparse_file.sparse_models import dense, normalized, numbers, pruned


@pytest.fixture
def path(rng, tmp_path):
    model, _ = pruned(normalized, rng)
    return save_sparse(model, tmp_path / "m.sparse")


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory, monkeypatch):
    """The folder of temporary folders; none is left in it."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def test_every_changed_byte_is_found(path):
    whole = path.read_bytes()
    places = [*range(0, len(whole), 17), *range(len(whole) - 130, len(whole), 3)]
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"m\.sparse"):
            load_sparse(path)
    path.write_bytes(whole)
    load_sparse(path)


def test_a_changed_byte_in_the_weights(path):
    changed = bytearray(path.read_bytes())
    changed[60] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ValueError, match="damaged sparse file.*SHA-256.*Copy the file again"):
        load_sparse(path)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.9, 0.99, 0.9999])
def test_a_file_cut_short(path, fraction):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(
        ValueError, match="does not end like a sparse file.*cut short.*copy it again"
    ):
        load_sparse(path)


def test_bytes_before_or_after(path):
    whole = path.read_bytes()
    path.write_bytes(b"#" + whole)
    with pytest.raises(ValueError, match="damaged sparse file"):
        load_sparse(path)
    path.write_bytes(whole + b"\n")
    with pytest.raises(ValueError, match="does not end like a sparse file"):
        load_sparse(path)


def test_other_files(tmp_path):
    dense().save(tmp_path / "model.keras")
    np.savez(tmp_path / "arrays.npz", a=np.eye(3))
    (tmp_path / "text").write_text("keras_sac.sparse/1")
    for name in ("model.keras", "arrays.npz", "text"):
        with pytest.raises(ValueError, match=r"Expected a file that `save_sparse` wrote.*\.keras"):
            load_sparse(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_sparse(tmp_path / "nothing")


def test_a_later_version(path, monkeypatch):
    rewrite(path, monkeypatch, version=2)
    with pytest.raises(ValueError, match="version 2; .* reads version 1. Install a newer"):
        load_sparse(path)


def rewrite(path, monkeypatch=None, *, version=1, change=lambda members: None, deflate=()):
    """Write the file again with other content, and the digest of that content."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["header.json"] = json.loads(members["header.json"])
    change(members)
    members = {
        name: content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, content in members.items()
    }
    path.unlink()
    if monkeypatch:
        monkeypatch.setattr(_zip_container, "VERSION", version)
    with new_archive(path) as archive:
        for name, content in members.items():
            info = member("safe", len(content), compressed=name not in {"weights.zst"} - {*deflate})
            info.filename = name
            archive.writestr(info, content)
    if monkeypatch:
        monkeypatch.undo()


def test_written_again_as_it_was_it_loads(path):
    rewrite(path)
    load_sparse(path)


def header(**fields):
    return lambda members: members["header.json"].update(fields)


def tensor(**fields):
    return lambda members: members["header.json"]["tensors"][-1].update(fields)


def array(which=-1, **fields):
    return lambda members: members["header.json"]["tensors"][which]["header"].update(fields)


def member_named(name, content=b"content"):
    return lambda members: members.update({name: content})


LIES = {
    "no dictionary": (lambda members: members.update({"header.json": []}), "Expected a header"),
    "no JSON": (lambda members: members.update({"header.json": b"{"}), "Expecting"),
    "no text": (lambda members: members.update({"header.json": b"\xff\xfe\xfd"}), "decode"),
    "too deep": (lambda members: members.update({"header.json": b"[" * 10**6}), "recursion"),
    "another format": (header(format="zip"), "Expected a header of keras_sac.sparse 1"),
    "another version": (header(version=3), "Expected a header of keras_sac.sparse 1"),
    "no list": (header(tensors={}), "Expected a header"),
    "no tensors": (header(tensors=[]), "The header declares 0 bytes"),
    "no rows": (header(tensors=[3]), "Expected a path, attributes and a header"),
    "groups outside": (header(groups={"a/../b": {}}), "Expected a path in an HDF5 file"),
    "groups without attributes": (header(groups={"a": 3}), "Expected attributes of 'a'"),
    "odd attributes": (header(groups={"a": {"b": []}}), "Expected strings and numbers for 'a'"),
    "a path to the root": (tensor(path="/a"), "Expected a path in an HDF5 file"),
    "no path": (tensor(path=None), "Expected a path in an HDF5 file"),
    "a path that is taken": (tensor(path="layers/normalization/vars/0"), "exists"),
    "a path through a tensor": (tensor(path="layers/normalization/vars/0/1"), "."),
    "another shape": (array(shape=[3]), "vars.*do not fit shape"),
    "a huge shape": (array(shape=[2**50, 2**9]), "do not fit shape|claims"),
    "a huge tensor": (
        array(shape=[2**50], values=2**50),
        "claims 1125899906842645 elements for a model with 20",
    ),
    "frames past the end": (array(frames=[10**9]), "The header declares"),
    "frames that stop before": (array(frames=[1]), "The header declares"),
    "another type": (array(dtype="<f8", stored="<f8"), "Values of <f8|values of <f8"),
    "objects": (array(dtype="|O", stored="|O"), "array of numbers"),
    "a name that leads out": (member_named("assets/../../evil.txt"), "may lead out"),
    "a name from the root": (member_named("/tmp/evil.txt"), "may lead out"),
    "a name for Windows": (
        member_named("assets\\..\\evil.txt"),
        "may lead out|Expected the members",
    ),
    "another member": (member_named("evil.txt"), "Expected the members.*evil.txt"),
    "no weights": (lambda members: members.pop("weights.zst") and None, "Expected the members"),
    "no configuration": (
        lambda members: members.pop("config.json") and None,
        "Expected the members",
    ),
    "a bomb": (member_named("assets/bomb", bytes(2**28 + 1)), "claims 268435457 bytes in"),
}


@pytest.mark.parametrize("lie", LIES)
def test_content_that_is_not_as_we_write_it(path, lie):
    change, message = LIES[lie]
    rewrite(path, change=change)
    before = {*path.parent.rglob("*"), *path.parent.parent.iterdir()}
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"content that `save_sparse` writes.*{message}"):
            load_sparse(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert {*path.parent.rglob("*"), *path.parent.parent.iterdir()} == before


def test_two_members_of_one_name(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rewrite(path, change=lambda members: members.update({"assets/a": b"", "assets/b": b""}))
        whole = path.read_bytes().replace(b"assets/b", b"assets/a")
    path.write_bytes(whole)
    with open(path, "r+b") as file:
        digest = _zip_container._digest(file)
        file.seek(-64, 2)
        file.write(digest)
    with pytest.raises(ValueError, match="Two of its members have the same name"):
        load_sparse(path)


def test_weights_that_are_compressed_again(path):
    rewrite(path, deflate=["weights.zst"])
    with pytest.raises(ValueError, match="The header declares"):
        load_sparse(path)


def test_a_damaged_file_leaves_the_model_as_it_was(rng, path):
    rewrite(path, change=array(shape=[3]))
    model, _ = pruned(normalized, rng)
    before = numbers(model)
    with pytest.raises(ValueError, match="do not fit shape"):
        load_sparse(path, model=model)
    for weight, now in zip(before, numbers(model), strict=True):
        np.testing.assert_array_equal(weight, now)


def test_what_keras_refuses_is_said_as_keras_says_it(path):
    def unknown(members):
        config = json.loads(members["config.json"])
        config["config"]["layers"][-1]["class_name"] = "Denser"
        members["config.json"] = config

    rewrite(path, change=unknown)
    with pytest.raises(
        ValueError, match=r"No model.*custom_objects.*Could not deserialize 'keras\.layers\.Denser'"
    ):
        load_sparse(path)


def claim(members, size):
    """Let the first weight be a huge array of zeros, in a file of a few kB that is valid itself."""
    row = members["header.json"]["tensors"][0]["header"]
    old = sum(row["frames"])
    gaps = bytes([255]) * (size // 255) + bytes([size % 255])
    frames = [compress([gaps], len(gaps), 1), compress([], 0, 1)]
    row.update(shape=[size], coding="gaps", values=0, frames=[len(frame) for frame in frames])
    members["weights.zst"] = b"".join(frames) + members["weights.zst"][old:]


@pytest.mark.parametrize("into", [False, True])
def test_zeros_that_the_model_has_no_place_for(rng, path, into):
    rewrite(path, change=lambda members: claim(members, 10**8))
    assert path.stat().st_size < 20_000
    model = pruned(normalized, rng)[0] if into else None
    message = "other weights.*100000000" if into else "claims 1000000.. elements for a model with"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load_sparse(path, model=model)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_model_of_almost_only_zeros_is_no_lie(tmp_path):
    model = keras.Sequential([keras.Input((3000,)), keras.layers.Dense(2000, name="zeros")])
    kernel = np.zeros((3000, 2000), "float32")
    kernel[7, 9] = 3.0
    model.layers[0].set_weights([kernel, np.zeros(2000)])
    path = save_sparse(model, tmp_path / "m.sparse")
    assert path.stat().st_size < 20_000
    np.testing.assert_array_equal(load_sparse(path).layers[0].get_weights()[0], kernel)


def units(members, name, number):
    config = json.loads(members["config.json"])
    (layer,) = (each for each in config["config"]["layers"] if each["config"]["name"] == name)
    layer["config"]["units"] = number
    members["config.json"] = config


def test_a_configuration_that_asks_for_more_than_the_file_holds(rng, tmp_path):
    path = save_sparse(pruned(dense, rng)[0], tmp_path / "m.sparse")
    name = load_sparse(path).layers[-1].name
    rewrite(path, change=lambda members: units(members, name, 10**12))
    init = keras.Variable.__init__
    with pytest.raises(InvalidFileError, match=r"asks for a weight of shape \(30, 10{12}\)"):
        load_sparse(path)
    assert keras.Variable.__init__ is init
    keras.layers.Dense(3000).build((3000,))


def test_variables_of_other_threads_are_not_limited():
    with variables_limited_to([]):
        made = []
        thread = threading.Thread(
            target=lambda: made.append(keras.Variable("zeros", (2**23,), trainable=False))
        )
        thread.start()
        thread.join()
    assert made[0].shape == (2**23,)


@pytest.mark.parametrize(
    "name", ["assets/" + "y" * 300, "assets/" + "a/" * 3000 + "b", "assets/\0"]
)
def test_names_that_no_file_can_have(path, name):
    rewrite(path, change=member_named(name))
    with pytest.raises(InvalidFileError, match="content that `save_sparse` writes"):
        load_sparse(path)


def test_a_configuration_of_something_else(path):
    other = keras.saving.serialize_keras_object(keras.layers.Flatten())
    rewrite(path, change=lambda members: members.update({"config.json": other}))
    with pytest.raises(InvalidFileError, match="Expected a model. Received: Flatten"):
        load_sparse(path)
