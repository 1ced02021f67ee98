"""Compare a pruned MLP in `to_sparse_runtime`, and an MLP with SAC layers, to the dense MLP.

    python benchmarks/bench_deploy.py

The MLP is 4096-4096-4096-10, with random weights pruned by magnitude. Each backend is measured in
its own process, in alternating rounds. Within a process the models alternate too, run by
`model.predict_on_batch`, with two clocks: `alternating` measures a call after a call of the other
model, which has filled the caches with its own weights; `alone` measures the last of three calls in
a row, like a model that has the machine for itself. Each round decides again which layers run
sparse, for each sparsity and batch size. If it chooses none, the two models are equal, and so are
their times except for noise, which the table allows for. In the other MLP the first two layers are
`SACDense` with a rank of an eighth of the width.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import tyro

from timing import run_child, write_result

HERE = pathlib.Path(__file__).parent
# Targets for the speedup over dense: by sparsity, at all other sparsities, and with SAC layers.
PROMISED = {0.9: 1.5, 0.95: 3.0}
NEVER_SLOWER = 1.0
PROMISED_SAC = 2.0
# Measured difference between two equal models.
NOISE = 0.05


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    width: int = 4096
    """Width of the input and of the two hidden layers."""
    sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    """Fractions of zeros in each kernel, ascending."""
    batch_sizes: tuple[int, ...] = (1, 64)
    """Samples per batch."""
    repeats: int = 100
    """Maximal number of measured calls of each model per round."""
    seconds: float = 3.0
    """Time limit of one comparison with one clock per round; at least five turns are made."""
    rounds: int = 3
    """Rounds over all backends."""
    seed: int = 0
    """Seed of weights and inputs."""
    backends: tuple[str, ...] = ("torch", "tensorflow", "jax")
    """Backends to measure."""
    omp_wait_policy: str | None = None
    """OMP_WAIT_POLICY of the child processes, whatever the environment says; by default not set.
    With PASSIVE, torch's threads sleep between products and wake up late for one row."""
    output: pathlib.Path = HERE / "results" / "bench_deploy.json"
    """File for the result."""


def measure(options: Options) -> dict[str, Any]:
    """Return all measured times and decisions by backend and comparison."""
    found: dict[str, Any] = {}
    environments = {}
    arguments = {**dataclasses.asdict(options), "output": None}
    for turn in range(options.rounds):
        for backend in options.backends:
            variables = {"KERAS_BACKEND": backend, "OMP_WAIT_POLICY": options.omp_wait_policy}
            result = run_child(HERE / "deploy_child.py", arguments, **variables)
            environments[backend] = result["environment"]
            for new in result["comparisons"]:
                key = (new["model"], new["sparsity"], new["batch_size"])
                kept = found.setdefault(backend, {}).setdefault(key, {**new, "runs_as": []})
                kept["runs_as"].append(new["runs_as"])
                if kept["seconds"] is not new["seconds"]:
                    for clock, by_name in new["seconds"].items():
                        for name, seconds in by_name.items():
                            kept["seconds"][clock][name] += seconds
        print(f"round {turn + 1} of {options.rounds} done", flush=True)
    comparisons = {backend: list(by_key.values()) for backend, by_key in found.items()}
    return {"environments": environments, "comparisons": comparisons}


def table(comparisons: dict[str, Any]) -> pd.DataFrame:
    """Return medians in milliseconds, and the speedup of each model over dense."""
    rows = []
    for backend, measured in comparisons.items():
        for each in measured:
            promised = PROMISED_SAC
            if each["model"] == "pruned":
                promised = PROMISED.get(each["sparsity"], NEVER_SLOWER)
            least = promised - NOISE if promised == NEVER_SLOWER else promised
            row = {
                "backend": backend,
                "model": each["model"],
                "sparsity": each["sparsity"],
                "batch": each["batch_size"],
                "runs as": ", ".join(each["runs_as"]),
                "promised": promised,
            }
            for clock, by_name in each["seconds"].items():
                ms = {name: 1e3 * float(np.median(times)) for name, times in by_name.items()}
                speedup = ms["dense"] / ms["ours"]
                row |= {
                    f"dense ms, {clock}": ms["dense"],
                    f"ours ms, {clock}": ms["ours"],
                    f"times as fast, {clock}": speedup,
                    clock: "met" if speedup >= least else "missed",
                }
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, print the table, write the result."""
    options = tyro.cli(Options, description=__doc__)
    result = measure(options)
    shown = table(result["comparisons"])
    print(shown.to_string(index=False, float_format=lambda v: f"{v:.2f}"))
    write_result(
        options.output,
        {
            "options": {**dataclasses.asdict(options), "output": None},
            "environments": result["environments"],
            "table": shown.to_dict("records"),
            "comparisons": result["comparisons"],
        },
    )


if __name__ == "__main__":
    main()
