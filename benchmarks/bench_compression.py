"""Measure the cost of compression without training, and the speed of its result.

    KERAS_BACKEND=torch python benchmarks/bench_compression.py

The network is the CIFAR-10 CNN of `experiments/compress_trained.py` with random weights and inputs,
because times do not depend on what was learned. Measured are

- a pass of `predict`, calibrations without and with labels, conversion to half of the
  multiplications and pruning of 90 %. Beside the time of a calibration stands the least that its
  products of rows can take, by the speed of one large product of this machine;
- the latency of the network, its conversion, and the same number of multiplications by narrower
  layers, in Keras and in the engines of exported files;
- the latency of single convolutions of the network and of their factors in each reading, and by
  least squares over them how many multiplications take as long as a value between the factors.
"""

import dataclasses
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro
from scipy.linalg import blas

import keras_sac
from keras_sac.analysis import environment
from timing import write_result

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "experiments"))

from harness.trained_networks import cifar_cnn  # noqa: E402

FILES = {"onnx": "model.onnx", "litert": "model.tflite"}
# Convolutions of the network: size of the images, channels, filters.
CONVOLUTIONS = ((32, 3, 32), (32, 32, 32), (16, 64, 64), (8, 128, 128))
FRACTIONS = (0.75, 0.5, 0.25)


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    samples: int = 2000
    """Samples of the calibration."""
    batch_size: int = 64
    """Samples per batch of all passes."""
    rounds: int = 3
    """Repetitions; medians are reported."""
    macs: float = 0.5
    """Fraction of the multiplications that are kept."""
    batch_sizes: tuple[int, ...] = (1, 64)
    """Samples per batch of the latencies."""
    seed: int = 0
    """Seed of weights and inputs."""
    output: pathlib.Path | None = None
    """File for the result; default: results/bench_compression-<backend>.json."""


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the median time of some calls, after one that is not counted."""
    work()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def peak_megabytes() -> float:
    """Return the largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def floor_of_products(calibration: keras_sac.Calibration, rounds: int) -> float:
    """Return the seconds that `Σ rows inputs^2` operations take in one large product."""
    operations = sum(
        float(row.rows) * row.inputs**2 * row.groups for row in calibration.summary().itertuples()
    )
    x = np.ones((8192, 1024), np.float32)
    measured = seconds(lambda: blas.ssyrk(1.0, x.T), rounds)
    return operations / (x.shape[0] * x.shape[1] ** 2 / measured)


def narrower(width: float) -> keras.Model:
    """Return the network with a fraction of the filters and units of each layer."""
    model = cifar_cnn((32, 32, 3), 10)

    def scaled(layer: Any) -> Any:
        config = layer.get_config()
        for name in ("filters", "units"):
            if name in config and layer.name != "dense_2":
                config[name] = round(width * config[name])
        return type(layer).from_config(config)

    return keras.models.clone_model(model, clone_function=scaled)


def costs(options: Options, model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the times and the memory of calibration, conversion and pruning."""

    def calibrated(**labels: Any) -> keras_sac.Calibration:
        return keras_sac.Calibration.from_data(
            model, x, batch_size=options.batch_size, verbose=0, **labels
        )

    rounds = options.rounds
    found = {
        "predict_s": seconds(
            lambda: model.predict(x, batch_size=options.batch_size, verbose=0), rounds
        )
    }
    before = peak_megabytes()
    found["calibration_s"] = seconds(calibrated, rounds)
    found["calibration_peak_mb"] = peak_megabytes() - before
    found["calibration_with_labels_s"] = seconds(lambda: calibrated(y=y), rounds)
    calibration = calibrated(y=y)
    found["products_floor_s"] = floor_of_products(calibration, rounds)
    found["calibration_vs_predict"] = (found["calibration_s"] - found["products_floor_s"]) / found[
        "predict_s"
    ]
    # The first time: another conversion finds what the original layers made.
    start = time.perf_counter()
    keras_sac.convert_to_sac(model, calibration, macs=options.macs, verbose=0)
    found["convert_s"] = time.perf_counter() - start
    calibration = calibrated(y=y)
    start = time.perf_counter()
    keras_sac.prune_with_data(model, calibration, sparsity=0.9, verbose=0)
    found["prune_s"] = time.perf_counter() - start
    return found


def latencies(options: Options, models: dict[str, keras.Model], x: np.ndarray) -> pd.DataFrame:
    """Return the median latencies of the models by engine and batch size."""
    rows = []

    def add(engine: str, runnable: dict[str, Any], **options_of_engine: Any) -> None:
        times: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.rounds):
            for name, each in runnable.items():
                table = keras_sac.latency(
                    each, x, batch_sizes=options.batch_sizes, **options_of_engine
                )
                for row in table.itertuples():
                    times.setdefault((name, row.batch_size), []).append(row.median_ms)
        for (name, batch), values in times.items():
            rows.append(
                {"engine": engine, "model": name, "batch": batch, "ms": float(np.median(values))}
            )

    add(f"keras, {keras.config.backend()}", models)
    with tempfile.TemporaryDirectory() as folder:
        for form, file in FILES.items():
            paths = {}
            for name, model in models.items():
                target = pathlib.Path(folder, name, file)
                target.parent.mkdir(exist_ok=True)
                paths[name] = keras_sac.export(model, target, form, sample=x[:64], verbose=0)
            add(form, paths)
    table = pd.DataFrame(rows)
    dense = table[table["model"] == "dense"].set_index(["engine", "batch"])["ms"]
    pairs = zip(table["engine"], table["batch"], strict=True)
    table["of dense"] = [ms / dense[pair] for ms, pair in zip(table["ms"], pairs, strict=True)]
    return table


def layer_options(options: Options) -> pd.DataFrame:
    """Return the latencies of single convolutions and of their factors, in Keras.

    A row: the multiplications of an image, the values between the factors, and the time.
    """
    batch, rows = max(options.batch_sizes), []
    for size, channels, filters in CONVOLUTIONS:
        x = np.random.default_rng(options.seed).normal(size=(batch, size, size, channels))
        dense = 9 * channels * filters
        # Of each reading the entries for a rank, and the largest rank.
        readings = {
            "patches": (9 * channels + filters, 9 * channels),
            "channels": (channels + 9 * filters, channels),
            "spatial": (3 * channels + 3 * filters, 3 * channels),
        }
        tried: dict[tuple[str, int], keras.layers.Layer] = {
            ("dense", 0): keras.layers.Conv2D(filters, 3, padding="same")
        }
        for reading, (entries, largest) in readings.items():
            for fraction in FRACTIONS:
                rank = 8 * round(fraction * dense / entries / 8)
                if 0 < rank <= largest and rank * entries < dense:
                    tried[reading, rank] = keras_sac.SACConv2D(
                        filters, 3, "random", rank=rank, reading=reading, padding="same"
                    )
        times: dict[tuple[str, int], list[float]] = {each: [] for each in tried}
        for _ in range(options.rounds):
            for each, layer in tried.items():
                model = keras.Sequential([keras.Input((size, size, channels)), layer])
                table = keras_sac.latency(model, x.astype("float32"), batch_sizes=(batch,))
                times[each].append(float(table["median_ms"].iloc[0]))
        rows += [
            {
                "convolution": f"{size}x{size}, {channels} to {filters}",
                "reading": reading,
                "rank": rank,
                "macs": size**2 * (rank * readings[reading][0] if rank else dense),
                "values": size**2 * rank,
                "ms": float(np.median(found)),
                "of dense": float(np.median(found) / np.median(times["dense", 0])),
            }
            for (reading, rank), found in times.items()
        ]
    return pd.DataFrame(rows)


def macs_of_a_value(table: pd.DataFrame) -> float:
    """Return how many multiplications take as long as a value between the factors.

    Least squares `t - t_dense = a (macs - macs_dense) + b values` over wide convolutions.
    """
    changes = []
    for _, rows in table[~table["convolution"].str.contains(", 3 to")].groupby("convolution"):
        dense = rows[rows["reading"] == "dense"].iloc[0]
        changes.append(rows.assign(macs=rows["macs"] - dense["macs"], ms=rows["ms"] - dense["ms"]))
    found = pd.concat(changes)
    a, b = np.linalg.lstsq(found[["macs", "values"]].to_numpy(float), found["ms"], rcond=None)[0]
    return float(b / a)


def main() -> None:
    """Measure, print the tables, write the result."""
    options = tyro.cli(Options, description=__doc__)
    keras.utils.set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    x = rng.normal(size=(options.samples, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, options.samples)
    model = cifar_cnn((32, 32, 3), 10)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    found = costs(options, model, x, y)
    print(pd.Series(found).round(3).to_string())
    small, report = keras_sac.convert_to_sac(model, x, y, macs=options.macs, verbose=0)
    by_reading = {"dense": model, "converted": small, "narrower": narrower(options.macs**0.5)}
    table = latencies(options, by_reading, x)
    print(table.round(3).to_string(index=False))
    layers = layer_options(options)
    found["macs_of_a_value"] = macs_of_a_value(layers)
    print(layers.round(3).to_string(index=False))
    print(f"a value takes as long as {found['macs_of_a_value']:.0f} multiplications")
    backend = keras.config.backend()
    output = options.output or HERE / "results" / f"bench_compression-{backend}.json"
    write_result(
        output,
        {
            "options": {**dataclasses.asdict(options), "output": None},
            "environment": environment(),
            "costs": found,
            "latencies": table.to_dict("records"),
            "layers": layers.to_dict("records"),
            "report": report.to_dict("records"),
        },
    )


if __name__ == "__main__":
    main()
