"""Child process of `bench_deploy.py`: measure one backend."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_sac import SACDense, bases, prune_to_sparsity, to_sparse_runtime
from keras_sac._run import IN_A_ROW, times_in_turns
from keras_sac.analysis import environment

CLASSES = 10
# Calls in a row of which the last is measured: with the caches of the other model, or its own.
CLOCKS = {"alternating": 1, "alone": IN_A_ROW}


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Measure all models at each sparsity and batch size, and return times and decisions."""
    keras.utils.set_random_seed(options["seed"])
    rng = np.random.default_rng(options["seed"])
    width = options["width"]
    rank = width // 8
    basis = bases.random_orthogonal(width, rank, options["seed"])
    model = mlp(width, partial(keras.layers.Dense, width))
    sac = mlp(width, partial(SACDense, width, basis))
    batches = {
        size: rng.standard_normal((size, width), dtype=np.float32)
        for size in options["batch_sizes"]
    }
    comparisons = []

    def compare(kind: str, sparsity: float | None, size: int, other: keras.Model, as_: str) -> None:
        calls = {"dense": model, "ours": other}
        run = {name: partial(each.predict_on_batch, batches[size]) for name, each in calls.items()}
        limits = {name: options[name] for name in ("repeats", "seconds")}
        seconds = {
            clock: times_in_turns(run, in_a_row=number, **limits)
            for clock, number in CLOCKS.items()
        }
        comparisons.append(
            {
                "model": kind,
                "sparsity": sparsity,
                "batch_size": size,
                "runs_as": as_,
                "seconds": seconds,
            }
        )

    for size in batches:
        compare(f"SAC, rank {rank}", None, size, sac, "SAC")
    for sparsity in options["sparsities"]:
        # Magnitude pruning is nested: a higher sparsity keeps a subset of the weights.
        prune_to_sparsity(model, sparsity)
        for size, x in batches.items():
            runtime, report = to_sparse_runtime(model, x)
            compare("pruned", sparsity, size, runtime, report.attrs["total"]["runs_as"])
    return {"environment": environment(), "comparisons": comparisons}


def mlp(width: int, hidden: Callable[..., keras.layers.Layer]) -> keras.Model:
    """Return an MLP with two hidden layers."""
    stack: list[Any] = [keras.Input((width,)), *(hidden(activation="relu") for _ in range(2))]
    return keras.Sequential([*stack, keras.layers.Dense(CLASSES)])
