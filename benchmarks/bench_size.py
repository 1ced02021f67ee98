"""Compare the size of the sparse file to Keras' own files under gzip, and to the entropy bound.

    KERAS_BACKEND=torch python benchmarks/bench_size.py --data-dir data

Two networks are trained, pruned to each sparsity, and fine-tuned with their zeros kept. Then the
model is written in each format, without its optimizer. The data is MNIST if a folder with
`mnist.npz` is given, otherwise scikit-learn's digits, enlarged. The bound is `n H(s) + 32 nnz` bits
per kernel and 32 bits for every other parameter. A SavedModel written by Keras holds every weight
twice, further apart than the window of gzip, so `.keras` is the smaller of the two peers.
"""

import dataclasses
import gzip
import io
import pathlib
import tarfile
import tempfile
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro

from keras_sac import (
    PruningOptimizer,
    export,
    footprint,
    load_sparse,
    prune_to_sparsity,
    save_sparse,
)
from keras_sac.analysis import environment
from timing import write_result

HERE = pathlib.Path(__file__).parent
# Target: largest ratio of the sparse file to the bound.
OF_BOUND = 1.05
_SIDE = 28


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    data_dir: pathlib.Path | None = None
    """Folder with `mnist.npz`. Defaults to scikit-learn's digits."""
    models: tuple[str, ...] = ("mlp", "convnet")
    """Networks to measure."""
    sparsities: tuple[float, ...] = (0.8, 0.9, 0.95)
    """Fractions of zeros in the kernels."""
    epochs: int = 2
    """Epochs before pruning; one epoch follows it."""
    seed: int = 0
    """Seed of the weights and of the order of samples."""
    output: pathlib.Path = HERE / "results" / "bench_size.json"
    """File for the result."""


def data(folder: pathlib.Path | None) -> tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the name of the data set, and images in [0, 1] with labels for training and test."""
    if folder is not None:
        with np.load(folder / "mnist.npz") as arrays:
            x_train, y_train, x_test, y_test = (
                arrays[name] for name in ("x_train", "y_train", "x_test", "y_test")
            )
        scale = 255.0
        name = "mnist"
    else:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = np.kron(images.reshape(-1, 8, 8), np.ones((3, 3)))
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        x_train, y_train, x_test, y_test = (
            images[:1400],
            labels[:1400],
            images[1400:],
            labels[1400:],
        )
        scale = 16.0
        name = "digits"
    shape = (-1, _SIDE, _SIDE, 1)
    x_train, x_test = ((x.reshape(shape) / scale).astype("float32") for x in (x_train, x_test))
    return name, x_train, y_train, x_test, y_test


def network(name: str) -> keras.Model:
    """Return an untrained network with 784 inputs and 10 outputs."""
    layers = keras.layers
    stacks = {
        "mlp": [
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dense(1024, activation="relu"),
        ],
        "convnet": [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
        ],
    }
    return keras.Sequential([keras.Input((_SIDE, _SIDE, 1)), *stacks[name], layers.Dense(10)])


def fit(model: keras.Model, optimizer: Any, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """Train a classifier."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)


def saved_model(model: keras.Model) -> bytes:
    """Return the SavedModel of a model as a tar archive."""
    with tempfile.TemporaryDirectory() as folder:
        written = export(model, pathlib.Path(folder, "model"), verify=False, verbose=0)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(written, arcname="model")
    return packed.getvalue()


def measure(model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    """Return the bytes of a model in each format."""
    with tempfile.TemporaryDirectory() as folder:
        whole, sparse = pathlib.Path(folder, "m.keras"), pathlib.Path(folder, "m.sparse")
        model.save(whole)
        # Without the optimizer, which the peers would save too.
        plain = keras.saving.load_model(whole, compile=False)
        plain.save(whole)
        start = time.perf_counter()
        save_sparse(plain, sparse)
        middle = time.perf_counter()
        again = load_sparse(sparse)
        end = time.perf_counter()
        half = save_sparse(plain, pathlib.Path(folder, "h.sparse"), values="float16")
        best = save_sparse(plain, pathlib.Path(folder, "b.sparse"), level=19)
        sizes = {
            ".keras": whole.stat().st_size,
            ".keras gzip -9": len(gzip.compress(whole.read_bytes(), 9)),
            "SavedModel gzip -9": len(gzip.compress(saved_model(plain), 9)),
            "sparse": sparse.stat().st_size,
            "bound": int(footprint(plain, compression=False).attrs["total"]["bound_bytes"]),
            "sparse, level 19": best.stat().st_size,
            "sparse, float16": half.stat().st_size,
        }
    equal = np.array_equal(plain.predict(x, verbose=0), again.predict(x, verbose=0))
    ratio = sizes["sparse"] / sizes["bound"]
    peers = (sizes[".keras gzip -9"], sizes["SavedModel gzip -9"])
    return {
        **sizes,
        "of bound": ratio,
        "of gzip": sizes["sparse"] / min(peers),
        "equal outputs": equal,
        "met": bool(equal and ratio <= OF_BOUND and sizes["sparse"] < min(peers)),
        "save s": middle - start,
        "load s": end - middle,
    }


def main() -> None:
    """Measure, print the table, write the result."""
    options = tyro.cli(Options, description=__doc__)
    dataset, x, y, x_test, y_test = data(options.data_dir)
    rows = []
    for name in options.models:
        keras.utils.set_random_seed(options.seed)
        model = network(name)
        fit(model, "adam", x, y, options.epochs)
        trained = model.get_weights()
        for sparsity in options.sparsities:
            model.set_weights(trained)
            prune_to_sparsity(model, sparsity)
            fit(model, PruningOptimizer("adam", schedule=None), x, y, 1)
            accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
            row = {"model": name, "sparsity": sparsity, "accuracy": float(accuracy)}
            rows.append({**row, **measure(model, x_test[:256])})
            print(f"{name} at {sparsity:.0%} done", flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    write_result(
        options.output,
        {
            "options": {**dataclasses.asdict(options), "data_dir": None, "output": None},
            "dataset": dataset,
            "environment": environment(),
            "table": table.to_dict("records"),
        },
    )


if __name__ == "__main__":
    main()
