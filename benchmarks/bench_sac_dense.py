"""Compare an epoch with `SACDense` to one with `Dense` and to forming the kernel (3072-512-10).

    KERAS_BACKEND=torch python benchmarks/bench_sac_dense.py

All networks are trained by `fit` on the same float32 array, in turns, so that a slow moment of the
machine affects all of them. A turn is a `fit` of two epochs, of which the second is measured: the
first pays for compilation, and on TensorFlow for copying the array into a tensor. The result is the
median, over all turns, of the time of an epoch divided by that of `Dense` in the same turn.
"""

import dataclasses
import pathlib
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro
from keras import ops
from second_epoch import second_epoch

from keras_sac import SACDense, bases, precompute_projection
from keras_sac.analysis import environment
from timing import write_result

# Targets: largest fraction of the time of an epoch with `Dense`.
TARGETS = {
    "factored": {"torch": 0.6, "tensorflow": 0.6, "jax": 0.45},
    "precomputed projection": {"torch": 0.25, "tensorflow": 0.25, "jax": 0.25},
}


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    samples: int = 50_000
    """Samples per epoch."""
    features: int = 3072
    """Width of the input."""
    units: int = 512
    """Width of the hidden layer."""
    rank: int = 128
    """Columns of the basis."""
    batch_size: int = 256
    """Samples per step."""
    repeats: int = 7
    """Measured epochs of each network; the result is their median."""
    seed: int = 0
    """Seed of data and weights."""
    output: pathlib.Path | None = None
    """File for the result. Defaults to benchmarks/results/bench_sac_dense-<backend>.json."""


class FormedKernel(keras.layers.Layer):
    """Peer layer that multiplies basis and learner in every step, like published SAC layers."""

    def __init__(self, units: int, basis: np.ndarray, activation: str):
        super().__init__()
        self.units = units
        self.columns = basis
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Add the weights."""
        shape = self.columns.shape
        self.basis = self.add_weight(shape=shape, initializer="zeros", trainable=False)
        self.basis.assign(self.columns)
        self.learner = self.add_weight(shape=(shape[1], self.units))
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """Form the kernel and multiply by it."""
        kernel = ops.matmul(self.basis, self.learner)
        return self.activation(ops.add(ops.matmul(inputs, kernel), self.bias))


def network(features: int, first: keras.layers.Layer) -> keras.Model:
    """Return the network with the measured layer as the first one."""
    return keras.Sequential([keras.Input((features,)), first, keras.layers.Dense(10)])


def compiled(model: keras.Model) -> keras.Model:
    """Compile the model with the loss and optimizer of the experiment."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    return model


def compared(options: Options, x: np.ndarray) -> tuple[dict[str, Any], float]:
    """Return name -> (compiled model, inputs), and the seconds of the one-time projection."""
    basis = bases.random_orthogonal(options.features, options.rank, options.seed)

    def sac() -> keras.Model:
        return network(options.features, SACDense(options.units, basis, activation="relu"))

    dense = keras.layers.Dense(options.units, activation="relu")
    formed = FormedKernel(options.units, basis.matrix, "relu")
    start = time.perf_counter()
    head, z = precompute_projection(sac(), x, verbose=0)
    seconds = time.perf_counter() - start
    return {
        "Dense": (compiled(network(options.features, dense)), x),
        "kernel formed each step": (compiled(network(options.features, formed)), x),
        "factored": (compiled(sac()), x),
        "precomputed projection": (compiled(head), z),
    }, seconds


def measure(options: Options) -> dict[str, Any]:
    """Return the seconds per epoch of every network, and the ratios to `Dense`."""
    keras.utils.set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.samples, options.features), dtype=np.float32)
    y = rng.integers(0, 10, options.samples)
    models, projection_seconds = compared(options, x)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(options.repeats):
        for name, (model, inputs) in models.items():
            seconds[name].append(second_epoch(keras, model, inputs, y, options.batch_size))
        print(f"turn {turn + 1} of {options.repeats} done", flush=True)
    dense = np.array(seconds["Dense"])
    backend = keras.backend.backend()
    rows = []
    for name, values in seconds.items():
        target = TARGETS.get(name, {}).get(backend)
        ratios = np.array(values) / dense
        rows.append(
            {
                "layer": name,
                "seconds an epoch": float(np.median(values)),
                "of Dense": float(np.median(ratios)),
                "lowest": float(ratios.min()),
                "highest": float(ratios.max()),
                "target": target,
                "trainable": models[name][0].count_params()
                - sum(int(np.prod(w.shape)) for w in models[name][0].non_trainable_weights),
                "met": None if target is None else bool(np.median(ratios) <= target),
            }
        )
    return {
        "options": {**dataclasses.asdict(options), "output": None},
        "environment": environment(),
        "projection_seconds": projection_seconds,
        "seconds": seconds,
        "table": rows,
    }


def main() -> None:
    """Measure, print the table, write the result."""
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    backend = keras.backend.backend()
    table = pd.DataFrame(result["table"])
    measured_with = result["environment"]
    print(f"\n{backend}, {measured_with['device']}, {measured_with['threads']} threads")
    print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    print(f"one-time projection of all samples: {result['projection_seconds']:.2f} s")
    folder = pathlib.Path(__file__).parent / "results"
    path = options.output or folder / f"bench_sac_dense-{backend}.json"
    write_result(path, result)


if __name__ == "__main__":
    main()
