"""Compare pruning to training without pruning and to tfmot: mask refreshes and epochs.

    python benchmarks/bench_pruning.py

Each backend, and tfmot on tf_keras, is measured in its own process, in alternating rounds, so that
a slow moment of the machine affects all of them. Within a process, epochs with and without pruning
alternate; the second epoch of each `fit` is measured. `--backends` selects backends. Without tfmot
there is nothing to compare the refreshes of TensorFlow with, and no TensorFlow is needed.

The overhead of pruning compares the fastest epochs, because other work on the machine only adds to
a time, and often more than pruning does. The table also has the median over the turns.
"""

import dataclasses
import importlib.util
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import tyro

from timing import run_child, write_result

HERE = pathlib.Path(__file__).parent
# Targets for the time of one refresh: largest fraction of tfmot's time on TensorFlow, and of our
# time on TensorFlow for the other backends.
REFRESH_OF_TFMOT = 0.2
REFRESH_OF_TENSORFLOW = 2.0
# Targets: how much slower an epoch with pruning may be.
OVERHEAD = {"mlp": 0.08, "cnn": 0.05}
MEMORY = 0.25


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    kernel: tuple[int, int] = (3072, 512)
    """Shape of the kernel whose mask is refreshed."""
    repeats: int = 11
    """Measured refreshes per round."""
    samples: int = 25_600
    """Samples per epoch of the MLP 3072-512-10; the CNN has a quarter of them."""
    batch_size: int = 256
    """Samples per step of the MLP; the CNN has 64."""
    frequency: int = 100
    """Steps between two refreshes of the masks."""
    sparsity: float = 0.8
    """Fraction of zeros."""
    turns: int = 6
    """Epochs of each model per round."""
    rounds: int = 2
    """Rounds over all backends."""
    seed: int = 0
    """Seed of data and weights."""
    backends: tuple[str, ...] = ("tensorflow", "torch", "jax")
    """Backends to measure besides tfmot."""
    output: pathlib.Path = HERE / "results" / "bench_pruning.json"
    """File for the result."""


def child(engine: str, what: str, options: Options) -> dict[str, Any]:
    """Measure one part on one engine in another process."""
    cnn = what == "cnn"
    arguments = {
        **dataclasses.asdict(options),
        "what": what,
        "samples": options.samples // 4 if cnn else options.samples,
        "batch_size": 64 if cnn else options.batch_size,
        "output": None,
    }
    if engine == "tfmot":
        legacy: dict[str, str | None] = {"KERAS_BACKEND": None, "TF_USE_LEGACY_KERAS": "1"}
        return run_child(HERE / "pruning_tfmot.py", arguments, **legacy)
    return run_child(HERE / "pruning_ours.py", arguments, KERAS_BACKEND=engine)


def engines(options: Options) -> tuple[str, ...]:
    """Return what is measured: tfmot where it is installed, and the backends."""
    needed = ("tensorflow", "tf_keras", "tensorflow_model_optimization")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(f"tfmot is not measured; not installed: {', '.join(missing)}", flush=True)
    return (*(() if missing else ("tfmot",)), *options.backends)


def measure(options: Options) -> dict[str, Any]:
    """Return all measured times by engine and part."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    environments = {}
    measured = engines(options)
    for turn in range(options.rounds):
        for what in ("refresh", "mlp", "cnn"):
            for engine in measured:
                result = child(engine, what, options)
                environments[engine] = result.pop("environment", None)
                kept = found.setdefault(engine, {}).setdefault(what, {})
                for name, value in result.items():
                    kept[name] = kept.get(name, []) + value if isinstance(value, list) else value
        print(f"round {turn + 1} of {options.rounds} done", flush=True)
    return {"environments": environments, "measured": found}


def tables(measured: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of refreshes and the table of epochs."""
    refresh, epochs = [], []
    seconds = {engine: np.median(m["refresh"]["seconds"]) for engine, m in measured.items()}
    tfmot = seconds.get("tfmot", np.nan)
    for engine, parts in measured.items():
        if engine == "tfmot":
            ratio, target = 1.0, None
        elif engine == "tensorflow":
            ratio, target = seconds[engine] / tfmot, REFRESH_OF_TFMOT
        else:
            ratio = seconds[engine] / seconds.get("tensorflow", np.nan)
            target = REFRESH_OF_TENSORFLOW
        refresh.append(
            {
                "engine": engine,
                "refresh ms": 1e3 * seconds[engine],
                "of tfmot": seconds[engine] / tfmot,
                "of its target's peer": ratio,
                "target": target,
                "met": None if target is None or np.isnan(ratio) else bool(ratio <= target),
            }
        )
        for what, limit in OVERHEAD.items():
            dense, pruned = (np.array(parts[what][name]) for name in ("dense", "pruned"))
            slower = float(pruned.min() / dense.min()) - 1.0
            ratios = pruned / dense
            memory = parts[what].get("memory")
            epochs.append(
                {
                    "engine": engine,
                    "model": what,
                    "epoch s": float(dense.min()),
                    "slower by": slower,
                    "median": float(np.median(ratios)) - 1.0,
                    "lowest": float(ratios.min()) - 1.0,
                    "highest": float(ratios.max()) - 1.0,
                    "target": None if engine == "tfmot" else limit,
                    "met": None if engine == "tfmot" else bool(slower <= limit),
                    "mask bytes of weights'": memory and memory["masks"] / memory["pruned weights"],
                }
            )
    return pd.DataFrame(refresh), pd.DataFrame(epochs)


def main() -> None:
    """Measure, print the tables, write the result."""
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    refresh, epochs = tables(result["measured"])
    for table in (refresh, epochs):
        print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
        print()
    write_result(
        options.output,
        {
            "options": {**dataclasses.asdict(options), "output": None},
            **result,
            "refresh": refresh.to_dict("records"),
            "epochs": epochs.to_dict("records"),
            "mask memory target": MEMORY,
        },
    )


if __name__ == "__main__":
    main()
