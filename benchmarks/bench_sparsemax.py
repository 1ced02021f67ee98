"""Compare sparsemax to the `entmax` package, and to sorting on each backend.

    python benchmarks/bench_sparsemax.py

Each backend is measured in its own process, in alternating rounds; within a process the functions
alternate too. `forward` is the function alone, `both` the function and its gradient, compiled as in
`fit`. The peers of a backend are the textbook algorithm, which sorts, and on torch also `entmax`.
The table shows the times of `entmax` beside those of the other backends too.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import tyro

from timing import run_child, write_result

HERE = pathlib.Path(__file__).parent
# Targets: largest fraction of the faster peer's time; for the most classes on torch, of the time of
# `entmax`.
OF_PEER = 1.0
OF_ENTMAX = 0.5


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    classes: tuple[int, ...] = (10, 1_000, 50_000)
    """Numbers of classes."""
    rows: int = 128
    """Rows of logits, drawn from the normal distribution."""
    repeats: int = 100
    """Maximal number of calls of each function per round."""
    seconds: float = 12.0
    """Time limit of a round for one number of classes; at least five calls of each are made."""
    rounds: int = 3
    """Rounds over all backends."""
    seed: int = 0
    """Seed of the logits."""
    backends: tuple[str, ...] = ("torch", "tensorflow", "jax")
    """Backends to measure."""
    output: pathlib.Path = HERE / "results" / "bench_sparsemax.json"
    """File for the result."""


def child(backend: str, options: Options) -> dict[str, Any]:
    """Measure one backend in another process."""
    arguments = {**dataclasses.asdict(options), "output": None}
    return run_child(HERE / "sparsemax_child.py", arguments, KERAS_BACKEND=backend)


def measure(options: Options) -> dict[str, Any]:
    """Return all measured times by backend, number of classes and function."""
    found: dict[str, Any] = {}
    environments = {}
    for turn in range(options.rounds):
        for backend in options.backends:
            result = child(backend, options)
            environments[backend] = result["environment"]
            for classes, functions in result["seconds"].items():
                kept = found.setdefault(backend, {}).setdefault(classes, {})
                for name, seconds in functions.items():
                    kept[name] = kept.get(name, []) + seconds
        print(f"round {turn + 1} of {options.rounds} done", flush=True)
    return {"environments": environments, "seconds": found}


def table(found: dict[str, Any], options: Options) -> pd.DataFrame:
    """Return medians in milliseconds, and our time as a fraction of the peers'."""
    rows = []
    torch = found.get("torch", {})
    for backend, by_classes in found.items():
        for classes, functions in by_classes.items():
            for what in ("forward", "both"):
                names = ("ours", "sort", "entmax15")
                ms = {n: 1e3 * float(np.median(functions[f"{n} {what}"])) for n in names}
                entmax = torch.get(classes, {}).get(f"entmax {what}", [np.nan])
                ms["entmax"] = 1e3 * float(np.median(entmax))
                peers = [ms["sort"], *([ms["entmax"]] if backend == "torch" else [])]
                ratio = ms["ours"] / min(peers)
                most = backend == "torch" and int(classes) == max(options.classes)
                of_entmax = ms["ours"] / ms["entmax"]
                rows.append(
                    {
                        "backend": backend,
                        "classes": int(classes),
                        "passes": what,
                        "ours ms": ms["ours"],
                        "sort ms": ms["sort"],
                        "entmax (torch) ms": ms["entmax"],
                        "of the faster peer": ratio,
                        "of entmax": of_entmax,
                        "met": bool(ratio <= OF_PEER and (not most or of_entmax <= OF_ENTMAX)),
                        "our entmax15 ms": ms["entmax15"],
                    }
                )
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print the table, write the result."""
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    shown = table(result["seconds"], options)
    print(shown.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    write_result(
        options.output,
        {
            "options": {**dataclasses.asdict(options), "output": None},
            "environments": result["environments"],
            "table": shown.to_dict("records"),
            "seconds": result["seconds"],
        },
    )


if __name__ == "__main__":
    main()
