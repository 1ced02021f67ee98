"""Measure which exported formats become smaller or faster when a model is pruned.

    KERAS_BACKEND=torch python benchmarks/bench_formats.py

An MLP, the same MLP pruned, and the same MLP with SAC layers are exported to every format. For each
file, its size, its size compressed by `gzip -9`, and its latency in the engines that read it are
measured; the three models alternate. The weights are random, because times do not depend on what
was learned. The table in words is written beside the result, and is part of `docs/deployment.md`.
"""

import dataclasses
import gzip
import itertools
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro

import keras_sac
from keras_sac._run import engines
from keras_sac.analysis import environment
from timing import write_result, write_text

HERE = pathlib.Path(__file__).parent
FILES = {
    "tf_saved_model": "model",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
    "torch": "model.pt2",
}
# Relative differences of times below this are noise.
SAME = 0.1


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    width: int = 2048
    """Units of the two hidden layers, and width of the inputs."""
    sparsity: float = 0.9
    """Fraction of zeros in the kernels of the pruned model."""
    rank: int = 256
    """Rank of the SAC layers."""
    batch_sizes: tuple[int, ...] = (1, 64)
    """Samples per batch."""
    rounds: int = 5
    """Turns of each of the three models in each engine."""
    seconds: float = 0.5
    """Time limit of a turn at one batch size."""
    seed: int = 0
    """Seed of weights and inputs."""
    output: pathlib.Path = HERE / "results" / "bench_formats.json"
    """File for the result; the table is written beside it."""


def models(options: Options) -> dict[str, keras.Model]:
    """Return the dense model, the pruned model, and the model with SAC layers."""
    keras.utils.set_random_seed(options.seed)
    layers, n = keras.layers, options.width

    def stack(hidden: Any) -> keras.Model:
        return keras.Sequential([keras.Input((n,)), hidden(), hidden(), layers.Dense(10)])

    dense = stack(lambda: layers.Dense(n, activation="relu"))
    pruned = stack(lambda: layers.Dense(n, activation="relu"))
    pruned.set_weights(dense.get_weights())
    keras_sac.prune_to_sparsity(pruned, options.sparsity)
    # A different basis in each layer: some formats store equal arrays only once.
    seeds = itertools.count(options.seed)
    subspace = stack(
        lambda: keras_sac.SACDense(
            n, "random", rank=options.rank, activation="relu", seed=next(seeds)
        )
    )
    return {"dense": dense, "pruned": pruned, "subspace": subspace}


def bytes_of(path: pathlib.Path) -> dict[str, int]:
    """Return the bytes of a file or folder and the files beside it, and their bytes by gzip -9."""
    inside = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    contents = [each.read_bytes() for each in sorted(inside) if each.is_file()]
    packed = gzip.compress(b"".join(contents), compresslevel=9)
    return {"bytes": sum(map(len, contents)), "gzip_bytes": len(packed)}


def times(models: dict[str, Any], x: np.ndarray, options: Options, engine: str) -> Any:
    """Return the medians of the turns in milliseconds, by batch size and model."""
    found: dict[int, dict[str, list[float]]] = {n: {} for n in options.batch_sizes}
    for _ in range(options.rounds):
        for name, model in models.items():
            table = keras_sac.latency(
                model, x, batch_sizes=options.batch_sizes, engine=engine, seconds=options.seconds
            )
            for row in table.itertuples():
                found[row.batch_size].setdefault(name, []).append(round(row.median_ms, 5))
    return found


def measure(options: Options) -> dict[str, Any]:
    """Return the bytes and times of every format and engine."""
    made = models(options)
    rng = np.random.default_rng(options.seed)
    x = rng.normal(size=(max(options.batch_sizes), options.width)).astype("float32")
    sizes, milliseconds = {}, {}
    milliseconds["keras", "keras"] = times(made, x, options, "keras")
    runtime, report = keras_sac.to_sparse_runtime(
        made["pruned"], x, batch_sizes=options.batch_sizes, verbose=0
    )
    milliseconds["to_sparse_runtime", "keras"] = times(
        {"dense": made["dense"], "pruned": runtime}, x, options, "keras"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, model in made.items():
            (folder / kind).mkdir()
            model.save(folder / kind / "model.keras")
            sizes.setdefault("keras", {})[kind] = bytes_of(folder / kind / "model.keras")
            path = keras_sac.save_sparse(model, folder / kind / "packed.sparse")
            sizes.setdefault("save_sparse", {})[kind] = bytes_of(pathlib.Path(path))
        for form, file in FILES.items():
            paths = {}
            for kind, model in made.items():
                target = folder / kind / form / file
                target.parent.mkdir()
                paths[kind] = keras_sac.export(model, target, form, sample=x, verbose=0)
                sizes.setdefault(form, {})[kind] = bytes_of(target)
            for engine in engines.READERS[pathlib.Path(file).suffix]:
                milliseconds[form, engine] = times(paths, x, options, engine)
            print(f"{form} done", flush=True)
    return {
        "bytes": sizes,
        "milliseconds": [
            {"format": form, "engine": engine, "times": found}
            for (form, engine), found in milliseconds.items()
        ],
        "sparse_runtime": report.to_dict("records"),
    }


def table(result: dict[str, Any], options: Options) -> pd.DataFrame:
    """Return bytes and times relative to the dense model."""
    rows = []
    for entry in result["milliseconds"]:
        row: dict[str, Any] = {"format": entry["format"], "engine": entry["engine"]}
        size = result["bytes"].get(entry["format"])
        for what, key in (("pruned", "bytes"), ("pruned, gzip", "gzip_bytes")):
            row[f"bytes {what}"] = size["pruned"][key] / size["dense"][key] if size else np.nan
        row["bytes subspace"] = size["subspace"]["bytes"] / size["dense"]["bytes"] if size else None
        for n in options.batch_sizes:
            medians = {name: np.median(turns) for name, turns in entry["times"][n].items()}
            row[f"dense ms, {n}"] = medians["dense"]
            for kind in ("pruned", "subspace"):
                row[f"time {kind}, {n}"] = medians.get(kind, np.nan) / medians["dense"]
        rows.append(row)
    size = result["bytes"]["save_sparse"]
    rows.append(
        {
            "format": "save_sparse",
            "engine": "none: loaded into Keras",
            "bytes pruned": size["pruned"]["bytes"] / size["dense"]["bytes"],
            "bytes pruned, gzip": size["pruned"]["gzip_bytes"] / size["dense"]["gzip_bytes"],
            "bytes subspace": size["subspace"]["bytes"] / size["dense"]["bytes"],
        }
    )
    return pd.DataFrame(rows)


def verdicts(shown: pd.DataFrame, options: Options) -> pd.DataFrame:
    """Return the table in words: relative size, and faster or not."""

    def speed(ratio: float) -> str:
        if np.isnan(ratio):
            return "–"
        if ratio > 1 - SAME:
            return "no" if ratio < 1 + SAME else f"slower, {ratio:.2f}"
        return f"{1 / ratio:.1f} times"

    def size(ratio: float) -> str:
        return "–" if np.isnan(ratio) else f"{ratio:.2f}"

    kept: dict[str, Any] = {
        "format": shown["format"],
        "engine": shown["engine"],
        "bytes": shown["bytes pruned"].map(size),
        "bytes, gzip -9": shown["bytes pruned, gzip"].map(size),
    }
    for n in options.batch_sizes:
        kept[f"faster, batch {n}"] = shown[f"time pruned, {n}"].map(speed)
    kept["subspace: bytes"] = shown["bytes subspace"].astype(float).map(size)
    for n in options.batch_sizes:
        kept[f"subspace: faster, batch {n}"] = shown[f"time subspace, {n}"].map(speed)
    return pd.DataFrame(kept)


def main() -> None:
    """Measure, print the table, write result and table."""
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    shown = table(result, options)
    words = verdicts(shown, options).to_markdown(index=False)
    print(shown.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    print(words)
    facts = {"options": {**dataclasses.asdict(options), "output": None}}
    write_result(options.output, {**facts, "environment": environment(), **result})
    write_text(options.output.with_suffix(".md"), words + "\n")


if __name__ == "__main__":
    main()
