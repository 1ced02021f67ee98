"""Small data sets and runs in the format of the real ones."""

import pickle

import numpy as np
import pytest


@pytest.fixture
def cifar_arrays():
    """`(x_train, y_train, x_test, y_test)` in CIFAR-10's shapes, 50 and 10 images."""
    rng = np.random.default_rng(3)
    x_train = rng.integers(0, 256, (50, 32, 32, 3), "uint8")
    x_test = rng.integers(0, 256, (10, 32, 32, 3), "uint8")
    return x_train, np.arange(50) % 10, x_test, np.arange(10)


@pytest.fixture
def cifar_batches(tmp_path, cifar_arrays):
    """Make a folder that holds `cifar-10-batches-py/`, laid out as the original."""
    x_train, y_train, x_test, y_test = cifar_arrays
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    parts = zip(np.split(x_train, 5), np.split(y_train, 5), strict=True)
    batches = {f"data_batch_{i}": part for i, part in enumerate(parts, start=1)}
    batches["test_batch"] = (x_test, y_test)
    for name, (images, labels) in batches.items():
        data = np.stack([image.transpose(2, 0, 1).ravel() for image in images])
        content = {b"data": data, b"labels": labels.tolist(), b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return tmp_path


@pytest.fixture
def outcome():
    """Return a function that makes a result of `training.train_row` with a given accuracy."""

    def make(accuracy=0.5, best=0.6, trainable=100, epoch=1.0, rank=None):
        return {
            "finished": "2026-01-01T00:00:00+00:00",
            "environment": {"versions": {"keras": "3"}, "threads": 2, "python": "3.11"},
            "counts": {"trainable": trainable, "stored": 200, "macs": 300},
            "facts": {} if rank is None else {"rank": rank},
            "history": {
                "loss": [1.5, 1.0],
                "val_accuracy": [0.4, 0.5],
                "test_accuracy": [best, accuracy],
                "seconds": [2.0, epoch],
            },
            "result": {
                "chosen_epoch": 2,
                "test_accuracy": accuracy,
                "val_accuracy": 0.5,
                "best_test_epoch": 1,
                "best_test_accuracy": best,
                "final_test_accuracy": accuracy,
            },
            "latency": [{"batch_size": 1, "median_ms": 0.25, "repeats": 5}],
            "seconds": {"first_epoch": 2.0, "epoch": epoch, "run": 4.0},
        }

    return make


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function that checks that a script refuses arguments and writes nothing."""

    def check(start, arguments, message):
        output = tmp_path / "out"
        assert start(["--dataset", "digits", "--output-dir", str(output), *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not output.exists()

    return check
