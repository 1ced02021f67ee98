"""Compare PCA and LDA bases to scikit-learn: ratios of times in one run, cosines of subspaces.

    KERAS_BACKEND=torch python benchmarks/bench_bases.py
    KERAS_BACKEND=torch python benchmarks/bench_bases.py --data cifar10.npz

All methods use the same float32 array, in turns, so that a slow moment of the machine affects all
of them. The exact subspace is that of float64 eigenvectors of the float64 covariance.
"""

import dataclasses
import pathlib
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import scipy.fft
import scipy.linalg
import threadpoolctl
import tyro
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from keras_sac.analysis import environment
from keras_sac.bases import lda, pca
from timing import write_result

# Targets: largest ratio of our time to the peer's.
TARGETS = {"PCA, randomized": 0.5, "IncrementalPCA": 0.1, "LDA, svd": 0.2}
SMALLEST_COSINE = 0.9999


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    samples: int = 50_000
    """Number of samples; the maximal number for a data file."""
    features: int = 3072
    """Number of features of the synthetic data: three times a square, for color images."""
    rank: int = 128
    """Columns of the PCA basis."""
    repeats: int = 5
    """Measurements of the fast methods; the result is their median."""
    slow_repeats: int = 1
    """Measurements of IncrementalPCA and of scikit-learn's LDA."""
    data: pathlib.Path | None = None
    """An .npz file with `x_train` and `y_train` (CIFAR-10) to use instead of synthetic data."""
    seed: int = 0
    """Seed of the synthetic data and of the randomized PCA."""
    memory: bool = True
    """Whether to trace the peak memory, in a separate pass."""
    output: pathlib.Path = pathlib.Path(__file__).parent / "results" / "bench_bases.json"
    """File for the result."""


def load(options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 samples, `(n, features)`, and their classes."""
    if options.data is None:
        return images(options.samples, options.features, options.seed)
    with np.load(options.data, allow_pickle=False) as file:
        x, y = file["x_train"][: options.samples], file["y_train"][: options.samples]
    return x.reshape(len(x), -1).astype(np.float32) / 255, y.reshape(-1).astype(np.int64)


def images(n: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of ten classes whose power falls with frequency, like that of photographs."""
    side = round((features / 3) ** 0.5)
    if 3 * side * side != features:
        raise SystemExit(
            f"--features must be 3 times a square (color images). Received: --features {features}"
        )
    rng = np.random.default_rng(seed)
    k = np.arange(side)
    amplitude = 1 / (1 + k[:, None] ** 2 + k[None, :] ** 2) ** 0.6
    amplitude = (amplitude[:, :, None] * [1.0, 0.3, 0.15]).astype(np.float32)
    y = rng.integers(0, 10, n)
    means = rng.standard_normal((10, side, side, 3), dtype=np.float32)
    x = np.empty((n, features), np.float32)
    for start in range(0, n, 5000):
        part = y[start : start + 5000]
        waves = rng.standard_normal((len(part), side, side, 3), dtype=np.float32)
        waves += 0.3 * means[part]
        block = scipy.fft.idctn(waves * amplitude, axes=(1, 2, 3), norm="ortho")
        x[start : start + 5000] = 0.5 + 0.25 * block.reshape(len(part), -1)
    return x, y


def exact(x: np.ndarray, y: np.ndarray, rank: int) -> dict[str, np.ndarray]:
    """Return the PCA and LDA subspaces from their definitions, in double precision."""
    n, width = x.shape
    mean = x.mean(axis=0, dtype=np.float64)
    cov = np.zeros((width, width))
    for start in range(0, n, 5000):
        block = x[start : start + 5000] - mean
        cov += block.T @ block / n
    _, vectors = scipy.linalg.eigh(cov, subset_by_index=(width - rank, width - 1))
    classes, counts = np.unique(y, return_counts=True)
    means = np.stack([x[y == c].mean(axis=0, dtype=np.float64) for c in classes]) - mean
    within = cov - (means.T * (counts / n)) @ means
    return {"PCA": vectors, "LDA": np.linalg.solve(within, means[1:].T - means[:1].T)}


def smallest_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of the largest principal angle between two column spaces."""
    qa, qb = (np.linalg.qr(np.asarray(m, np.float64))[0] for m in (a, b))
    return float(np.linalg.svd(qa.T @ qb, compute_uv=False).min())


def methods(x: np.ndarray, y: np.ndarray, options: Options) -> dict[str, Callable[[], np.ndarray]]:
    """Return name -> function that computes the columns of a subspace."""
    k, seed = options.rank, options.seed
    n_directions = len(np.unique(y)) - 1
    return {
        "keras_sac pca": lambda: pca(x, k, verbose=0).matrix,
        "keras_sac lda": lambda: lda(x, y, verbose=0).matrix,
        "PCA, randomized": lambda: np.transpose(
            PCA(k, svd_solver="randomized", random_state=seed).fit(x).components_
        ),
        "IncrementalPCA": lambda: np.transpose(IncrementalPCA(k).fit(x).components_),
        "LDA, svd": lambda: LinearDiscriminantAnalysis().fit(x, y).scalings_[:, :n_directions],
    }


def measure(options: Options) -> dict[str, Any]:
    """Return times, cosines and memory of all methods."""
    x, y = load(options)
    print(f"data: {x.shape[0]} x {x.shape[1]}, {len(np.unique(y))} classes", flush=True)
    truth = exact(x, y, options.rank)
    compared = methods(x, y, options)
    slow = ("IncrementalPCA", "LDA, svd")
    times: dict[str, list[float]] = {name: [] for name in compared}
    columns = {}
    for turn in range(max(options.repeats, options.slow_repeats)):
        for name, run in compared.items():
            if turn >= (options.slow_repeats if name in slow else options.repeats):
                continue
            start = time.perf_counter()
            columns[name] = run()
            times[name].append(time.perf_counter() - start)
            print(f"  {name}: {times[name][-1]:.2f} s", flush=True)
    rows = []
    for name in compared:
        kind = "LDA" if "lda" in name.lower() else "PCA"
        ours = f"keras_sac {kind.lower()}"
        seconds = statistics.median(times[name])
        rows.append(
            {
                "method": name,
                "seconds": seconds,
                "ours / this": statistics.median(times[ours]) / seconds,
                "at most": TARGETS.get(name),
                "cosine to exact": smallest_cosine(columns[name], truth[kind]),
                "cosine to ours": smallest_cosine(columns[name], columns[ours]),
                "peak MiB": peak(compared[name]) if options.memory and name not in slow else None,
                "all seconds": times[name],
            }
        )
    return {"shape": list(x.shape), "rows": rows}


def peak(run: Callable[[], Any]) -> float:
    """Return the peak memory of `run` beyond its data, in MiB."""
    tracemalloc.start()
    run()
    _, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return top / 2**20


def verdicts(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Return which targets were reached."""
    reached = {
        f"time over {row['method']} <= {row['at most']}": row["ours / this"] <= row["at most"]
        for row in rows
        if row["at most"] is not None
    }
    for row in rows:
        if row["method"].startswith("keras_sac"):
            name = f"{row['method']}: smallest cosine to exact >= {SMALLEST_COSINE}"
            reached[name] = row["cosine to exact"] >= SMALLEST_COSINE
    return reached


def machine() -> dict[str, Any]:
    """Return the environment of the measurement."""
    pools = threadpoolctl.threadpool_info()
    names = [f"{pool['internal_api']} {pool.get('version') or ''}".strip() for pool in pools]
    threads = [pool["num_threads"] for pool in pools]
    return {**environment(), "pools": dict(zip(names, threads, strict=True))}


def main(options: Options) -> None:
    """Measure, print the table, write the result."""
    result = measure(options)
    reached = verdicts(result["rows"])
    result["targets reached"] = reached
    settings = dataclasses.asdict(options)
    del settings["output"]
    settings["data"] = options.data.name if options.data else "synthetic images"
    result = {"settings": settings, "machine": machine(), **result}
    table = pd.DataFrame(result["rows"]).drop(columns="all seconds").set_index("method")
    print(table.to_string(float_format=lambda v: f"{v:.5f}" if abs(v) < 10 else f"{v:.1f}"))
    for name, ok in reached.items():
        print(f"{'reached' if ok else 'MISSED '}  {name}")
    write_result(options.output, result)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
