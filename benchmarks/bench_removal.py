"""Check removal of units on many graphs, and measure the time of the greedy choice.

    KERAS_BACKEND=torch python benchmarks/bench_removal.py

The graphs are the families of `bench_families.py` and the small ones of `small_graphs.py`, with
random weights. Of each,

- 30 % of the units of every group are removed: the outputs keep their shape and are finite;
- 30 % of the units are set to zero, and `remove_zero_filters` takes them out: the largest
  difference of the outputs, relative to the largest output, is below 1e-5.

A group that cannot be followed is left alone, and named with the reason. The greedy choice is timed
on one layer of 512 units with 3 x 3 windows, whose units a layer of 512 filters reads.

The result of a backend is written to `results/bench_removal-<backend>.json`, the table of all
backends that have a result to `results/bench_removal.md`. A run of some graphs (`--graphs`) keeps
the results of the others.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import time
from collections import Counter
from typing import Any

import keras
import numpy as np
import pandas as pd
import small_graphs
import tyro
from bench_families import FAMILIES, Transformer, difference, outputs
from zoo_models import inputs_for

import keras_sac
from keras_sac.analysis import environment
from keras_sac.removal._channel_labels import sparing
from keras_sac.removal._dependency_graph import DependencyGraph
from keras_sac.removal._greedy_elimination import Reader, eliminate
from timing import each_available, earlier_results, write_result, write_text

RESULTS = pathlib.Path(__file__).parent / "results"
LARGEST_DIFFERENCE = 1e-5
SMALL = {build.__name__: build for build in (*small_graphs.EXACT, *small_graphs.NORMALIZED)}
GRAPHS = {**SMALL, **FAMILIES}
SHARE = 0.3


@dataclasses.dataclass
class Options:
    """Options of the benchmark."""

    graphs: tuple[str, ...] = tuple(GRAPHS)
    """Names of the graphs."""
    samples: int = 8
    """Samples of the calibration."""
    seed: int = 0
    """Seed of weights and inputs."""
    output: pathlib.Path = RESULTS / f"bench_removal-{keras.config.backend()}.json"
    """File for the result; the table is written beside it."""


def measure(name: str, options: Options) -> dict[str, Any]:
    """Return what removal does to a graph."""
    keras.utils.set_random_seed(options.seed)
    model = GRAPHS[name]()
    rng = np.random.default_rng(options.seed)
    if isinstance(model, Transformer):
        return {"reason": "subclassed: it has no graph that can be followed"}
    if name in SMALL:
        x = small_graphs.inputs(model, options.samples)
    else:
        x = inputs_for(model, options.samples, rng)
        # Random weights alone make activations that vanish or explode.
        keras_sac.recalibrate_batch_norm(model, x)
    start = time.perf_counter()
    try:
        small, report = keras_sac.remove_units(
            model, x, fraction=SHARE, selection="l1", compensate=False, verbose=0
        )
    except ValueError as error:
        if "No unit of" not in str(error):
            raise
        return {"reason": str(error).split("Received: ")[-1]}
    seconds = time.perf_counter() - start
    pairs = list(zip(outputs(small, x), outputs(model, x), strict=True))
    groups = report.attrs["groups"]
    reasons = Counter(each["reason"].split(":")[-1].strip() for each in groups if each["reason"])
    reasons.pop("they are outputs of the model", None)
    start = time.perf_counter()
    units = zero_some(model, x, options.seed)
    exact, zeros = keras_sac.remove_zero_filters(model, sample=x)
    return {
        "parameters": model.count_params(),
        "left": small.count_params(),
        "same shapes": all(new.shape == old.shape for new, old in pairs),
        "finite": bool(all(np.isfinite(new).all() for new, _ in pairs)),
        "groups": len(groups),
        "left alone": sum(reasons.values()),
        "reasons": dict(reasons.most_common(3)),
        "zeros": units,
        "zeros removed": int((zeros["units_before"] - zeros["units_after"]).sum()),
        "difference": difference(exact, outputs(model, x), x),
        "seconds": round(seconds + time.perf_counter() - start, 1),
    }


def zero_some(model: keras.Model, x: Any, seed: int) -> int:
    """Set the kernels and biases of some units to zero, and return in how many layers' units."""
    arrays = keras.tree.flatten(x)
    graph = DependencyGraph(model, [np.asarray(each)[:2] for each in arrays])
    sets = np.unique(graph.roots(np.arange(graph.units.count)))
    sets = sets[sets > 0]
    chosen = np.random.default_rng(seed).permutation(sets)[: round(SHARE * len(sets))]
    chosen = sparing(chosen, [np.unique(graph.roots(numbers)) for _, numbers in graph.made])
    count = 0
    for weight in graph.weights.values():
        value = np.array(keras.ops.convert_to_numpy(weight.variable.value))
        for axis in weight.makes:
            gone = np.isin(graph.roots(weight.axes[axis]), chosen)
            value[(slice(None),) * axis + (gone,)] = 0.0
            count += int(gone.sum()) if value.ndim > 1 else 0
        weight.variable.assign(value)
    # Normalizations pass zeros on as zeros.
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in (layer.beta, layer.moving_mean):
                if variable is not None:
                    variable.assign(np.zeros(variable.shape))
    return count


def passes(found: dict[str, Any]) -> bool:
    """Return whether a graph fulfils what the benchmark promises."""
    if "difference" not in found:
        return bool(found["reason"])
    return found["same shapes"] and found["finite"] and found["difference"] < LARGEST_DIFFERENCE


def seconds_of_choice(units: int = 512, window: int = 9, outputs: int = 512) -> float:
    """Return how long the order of the units of a wide layer takes."""
    rng = np.random.default_rng(0)
    width = units * window
    x = rng.normal(size=(2 * width, width)).astype("float32")
    covariance = (x.T @ x / len(x)).astype(float)
    rows = list(np.arange(width).reshape(units, window))
    start = time.perf_counter()
    eliminate([Reader(covariance, rng.normal(size=(width, outputs)), rows)], units)
    return time.perf_counter() - start


def table(folder: pathlib.Path) -> str:
    """Return the table of all backends that have a result in a folder."""
    rows = []
    for path in sorted(folder.glob("bench_removal-*.json")):
        stored = json.loads(path.read_text())
        for name, found in stored["graphs"].items():
            row = {"graph": name, "backend": stored["environment"]["backend"]}
            if "difference" in found:
                row |= {
                    "parameters": f"{found['parameters']:,}",
                    "left %": f"{100 * found['left'] / found['parameters']:.0f}",
                    "groups": found["groups"],
                    "left alone": found["left alone"],
                    "why": "; ".join(found["reasons"]),
                    "zero units": found["zeros"],
                    "removed": found["zeros removed"],
                    "difference": f"{found['difference']:.0e}",
                    "seconds": found["seconds"],
                }
            else:
                row |= {"why": found["reason"]}
            rows.append(row | {"passes": "yes" if passes(found) else "no"})
    shown = pd.DataFrame(rows).sort_values(["graph", "backend"], kind="stable")
    return shown.fillna("").to_markdown(index=False) + "\n"


def main() -> None:
    """Check every graph; write result and table."""
    options = tyro.cli(Options, description=__doc__)
    facts: dict[str, Any] = {
        "samples": options.samples,
        "seed": options.seed,
        "environment": environment(),
    }
    facts["environment"]["versions"]["keras-hub"] = importlib.metadata.version("keras-hub")
    known = earlier_results(options.output, facts, "graphs")
    choice = round(seconds_of_choice(), 1)
    print(f"choice of 512 units: {choice} s", flush=True)
    for name, found in each_available(options.graphs, lambda graph: measure(graph, options)):
        known[name] = found
        ordered = {each: known[each] for each in GRAPHS if each in known}
        write_result(options.output, {**facts, "seconds_of_choice": choice, "graphs": ordered})
    text = table(options.output.parent)
    write_text(options.output.parent / "bench_removal.md", text)
    print(text)


if __name__ == "__main__":
    main()
