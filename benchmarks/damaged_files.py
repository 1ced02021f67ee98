"""Damage sparse files and files of bases in many ways, and load them.

`tests/integration/test_damaged_files.py` loads hundreds, `bench_damaged_files.py` thousands.
Damage that ends with a new digest is forged: no reader can tell it from a file that says so.
"""

import contextlib
import copy
import hashlib
import io
import json
import pathlib
import random
import signal
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_sac import InvalidFileError, SACDense, bases, load_sparse, prune_to_sparsity, save_sparse
from keras_sac._sparse_array._zstd import compress

_DIGITS = 64
_LONGEST_S = 20
_FRAMES = "weights.zst"
# Values in the place of a value of JSON.
_ODD = [
    *(0, -1, 1, 2, 255, 2**31, 2**32, 2**40, 2**63, 2**64, 10**30, 0.5, 1e308, float("nan")),
    *(None, True, "", "x", [], {}, [1], "..", "/etc/passwd", "a" * 5000, "\x00"),
    *("<f4", "<f2", "|O", "|V8", "<U100000000", "<M8[s]", "bfloat16", "float8_e4m3", "int4"),
    *("mask", "gaps", "dense", "lambda", "Lambda", "os", "system", "StringLookup"),
]
_ODD_NAMES = [
    *("../../x", "/tmp/keras_sac_damaged/x", "assets/../../../x", "assets/x", "..\\x"),
    *("config.json", "assets/a/b/c", "assets/" + "y" * 300, "assets/\x00z", "assets//x"),
    *("ASSETS/x", "assets/x/", "assets/config.json/x"),
]


class Intact:
    """A sparse file and the file of a basis, as bytes, and what they hold.

    Attributes:
        sparse: bytes of a sparse file.
        basis: bytes of the file of a basis.
        weights: weights of the model.
        matrix: matrix of the basis.
    """

    def __init__(self):
        keras.utils.set_random_seed(0)
        x = np.random.default_rng(0).normal(size=(200, 16)).astype("float32")
        basis = bases.pca(x, rank=6)
        model = keras.Sequential(
            [
                keras.Input((16,)),
                SACDense(12, basis, activation="relu"),
                keras.layers.Dense(12, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(3),
            ]
        )
        prune_to_sparsity(model, 0.8)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            self.sparse = save_sparse(model, folder / "m.sparse").read_bytes()
            basis.save(folder / "b.npz")
            self.basis = (folder / "b.npz").read_bytes()
        self.weights = [np.asarray(weight) for weight in model.get_weights()]
        self.matrix = basis.matrix

    def load_sparse(self, path: pathlib.Path) -> bool:
        """Load a sparse file; return whether it holds the same weights."""
        found = load_sparse(path).get_weights()
        return len(found) == len(self.weights) and all(map(np.array_equal, found, self.weights))

    def load_basis(self, path: pathlib.Path) -> bool:
        """Load a basis; return whether it has the same matrix."""
        return np.array_equal(bases.Basis.load(path).matrix, self.matrix)


def damaged_sparse(intact: Intact, seed: int) -> tuple[str, bytes]:
    """Return the kind of damage of a seed, and the bytes of a sparse file with it."""
    r = random.Random(seed)
    whole = intact.sparse
    members = _members(whole)
    kind = r.choice(
        ["bits", "cut", "forged bits", "forged order", "forged frames", "forged members"]
        + ["forged rows", "forged claims"]
        + 2 * ["forged header", "forged configuration"]
    )
    match kind:
        case "bits":
            return kind, _flipped(r, whole)
        case "cut":
            return kind, whole[: r.randrange(len(whole))]
        case "forged bits":
            return kind, _signed(_flipped(r, whole[:-100]) + whole[-100:])
        case "forged order":
            return kind, _signed(_exchanged(r, whole[:-100]) + whole[-100:])
        case "forged frames":
            members[_FRAMES] = _flipped(r, members[_FRAMES])
        case "forged members":
            return kind, _packed([*members.items(), (r.choice(_ODD_NAMES), b"hi")])
        case "forged header":
            members["header.json"] = _edited(r, members["header.json"])
        case "forged configuration":
            members["config.json"] = _edited(r, members["config.json"])
        case "forged rows":
            header = json.loads(members["header.json"])
            one, other = r.sample(header["tensors"], 2)
            key = r.choice(["path", "header"])
            one[key], other[key] = other[key], one[key]
            members["header.json"] = json.dumps(header).encode()
        case "forged claims":
            _claim(r, members)
    return kind, _packed(list(members.items()))


def damaged_basis(intact: Intact, seed: int) -> tuple[str, bytes]:
    """Return the kind of damage of a seed, and the bytes of a basis with it."""
    r = random.Random(seed)
    with np.load(io.BytesIO(intact.basis)) as archive:
        arrays = dict(archive)
    kind = r.choice(["bits", "cut", "forged arrays", "forged headers", "forged objects"])
    name = r.choice(list(arrays))
    match kind:
        case "bits":
            return kind, _flipped(r, intact.basis)
        case "cut":
            return kind, intact.basis[: r.randrange(len(intact.basis))]
        case "forged arrays":
            odd = [np.zeros(0), np.array("x"), np.array(np.nan), np.full((2, 3), np.inf)]
            odd += [np.zeros((3,) * 5), np.array(10**9), np.array(-1), np.array(["a", "b"])]
            odd += [np.array(b"z"), np.array("2020-01-01", "M8[D]"), np.zeros(2, "c8")]
            odd += [arrays[r.choice(list(arrays))], arrays[name].T]
            arrays[name] = r.choice(odd)
            if r.random() < 0.2:
                del arrays[r.choice(list(arrays))]
        case "forged objects":
            arrays[name] = np.array([{}], dtype=object)
        case "forged headers":
            return kind, _with_header(r, intact.basis, f"{name}.npy")
    file = io.BytesIO()
    np.savez(file, **arrays)
    return kind, file.getvalue()


def outcome(load: Callable[[pathlib.Path], bool], path: pathlib.Path) -> dict[str, Any]:
    """Load a file and return what happened.

    Returns:
        `result`: `"refused"`, `"same"`, `"other"`, `"hangs"`, or the name of another exception;
        `message`: of the exception; `seconds`; `MiB`: growth of the memory of this process.
    """
    before = _memory(reset=True)
    start = time.perf_counter()
    message = ""
    try:
        with _time_limit():
            result = "same" if load(path) else "other"
    except InvalidFileError as error:
        result, message = "refused", str(error)
    except _HangsError:
        result = "hangs"
    except Exception as error:
        result, message = type(error).__name__, str(error)
    seconds = time.perf_counter() - start
    return {
        "result": result,
        "message": message[:300],
        "seconds": seconds,
        "MiB": (_memory() - before) / 1024,
    }


def main(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Load files with the damage of some seeds, for `run_child`."""
    # Keras warns about odd configurations, and the archive about two members of one name.
    warnings.simplefilter("ignore")
    intact = Intact()
    make, load = {
        "sparse": (damaged_sparse, intact.load_sparse),
        "basis": (damaged_basis, intact.load_basis),
    }[options["format"]]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "file")
        # The first load imports what it needs.
        path.write_bytes(intact.sparse if options["format"] == "sparse" else intact.basis)
        load(path)
        for seed in range(options["first"], options["first"] + options["count"]):
            kind, content = make(intact, seed)
            path.write_bytes(content)
            rows.append({"seed": seed, "damage": kind, **outcome(load, path)})
    return rows


class _HangsError(BaseException):
    """Raised when a file takes too long."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _HangsError

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def _memory(reset: bool = False) -> int:
    """Return the largest memory of this process since the last reset, in KiB (Linux only)."""
    if reset:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _members(whole: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            how = zipfile.ZIP_STORED if name == _FRAMES else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=how)
        archive.comment = b"keras_sac.sparse/1 sha256:" + b"0" * _DIGITS
    return _signed(file.getvalue())


def _signed(whole: bytes) -> bytes:
    content = whole[:-_DIGITS]
    return content + hashlib.sha256(content).hexdigest().encode()


def _flipped(r: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(r.choice([1, 2, 8])):
        changed[r.randrange(len(changed))] ^= 1 << r.randrange(8)
    return bytes(changed)


def _exchanged(r: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    length = r.choice([1, 4, 64, 500])
    one, other = (r.randrange(len(content) - length) for _ in range(2))
    changed[one : one + length] = content[other : other + length]
    changed[other : other + length] = content[one : one + length]
    return bytes(changed)


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(each, (*path, key))


def _at(value: Any, path: Iterable[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


def _edited(r: random.Random, content: bytes) -> bytes:
    """Change, delete or copy values of a JSON document."""
    document = json.loads(content)
    for _ in range(r.choice([1, 1, 1, 2, 4])):
        places = list(_places(document))
        if not places:
            break
        *path, last = r.choice(places)
        parent = _at(document, path)
        old, what = parent[last], r.random()
        if what < 0.2 and isinstance(old, int):
            parent[last] = old + r.choice([-1, 1, 7, 255, 2**16, 2**31])
        elif what < 0.7:
            parent[last] = copy.deepcopy(r.choice(_ODD))
        elif what < 0.85:
            del parent[last]
        else:
            parent[last] = copy.deepcopy(_at(document, r.choice(places)))
    return json.dumps(document).encode()


def _claim(r: random.Random, members: dict[str, bytes]) -> None:
    """Let one weight be a huge array of zeros, which takes almost no bytes in the file."""
    size = r.choice([10**7, 10**8, 10**9])
    header = json.loads(members["header.json"])
    which = r.randrange(len(header["tensors"]))
    start = sum(sum(each["header"]["frames"]) for each in header["tensors"][:which])
    row = header["tensors"][which]["header"]
    gaps = bytes([255]) * (size // 255) + bytes([size % 255])
    frames = [compress([gaps], len(gaps), 1), compress([], 0, 1)]
    end = start + sum(row["frames"])
    row.update(shape=[size], coding="gaps", values=0, frames=[len(frame) for frame in frames])
    members["header.json"] = json.dumps(header).encode()
    old = members[_FRAMES]
    members[_FRAMES] = old[:start] + b"".join(frames) + old[end:]


def _with_header(r: random.Random, whole: bytes, name: str) -> bytes:
    """Change the header of one array of an `.npz` file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in _members(whole).items():
            if member == name:
                end = content.index(b"\n") + 1
                header = content[:end]
                shape = str(r.choice([10**6, 10**12, 10**18, -5])).encode()
                changed = header.replace(b"'shape': (", b"'shape': (" + shape + b",")
                content = (_flipped(r, header) if r.random() < 0.5 else changed) + content[end:]
            archive.writestr(member, content)
    return file.getvalue()
