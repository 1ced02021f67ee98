"""The part of `bench_deploy.py` that measures one backend; a child process."""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from keras_sac import SACDense, bases, prune_to_sparsity
from keras_sac._run._clock import times_in_turns
from keras_sac.analysis import environment
from keras_sac.sparse_runtime._sparse_runtime import IN_A_ROW, to_sparse_runtime

CLASSES = 10
# Calls in a row of which the last counts: after the other model, and with the caches for itself.
CLOCKS = {"alternating": 1, "alone": IN_A_ROW}


def main() -> None:
    """Read the options as JSON from the command line, print the figures as JSON."""
    options = json.loads(sys.argv[1])
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
        # The weights that are left at more zeros are among those left at fewer.
        prune_to_sparsity(model, sparsity)
        for size, x in batches.items():
            runtime, report = to_sparse_runtime(model, x)
            compare("pruned", sparsity, size, runtime, report.attrs["total"]["runs_as"])
    print("RESULT " + json.dumps({"environment": environment(), "comparisons": comparisons}))


def mlp(width: int, hidden: Callable[..., keras.layers.Layer]) -> keras.Model:
    """Return an MLP with two hidden layers."""
    stack: list[Any] = [keras.Input((width,)), *(hidden(activation="relu") for _ in range(2))]
    return keras.Sequential([*stack, keras.layers.Dense(CLASSES)])


if __name__ == "__main__":
    main()
