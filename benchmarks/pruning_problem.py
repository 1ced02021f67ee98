"""Data, network and timing of `bench_pruning.py`, for Keras 3 and for tf_keras."""

import time
from typing import Any

import numpy as np

SHAPES = {"mlp": (3072,), "cnn": (28, 28, 1)}


def data(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs and labels."""
    rng = np.random.default_rng(options["seed"])
    x = rng.standard_normal((options["samples"], *SHAPES[options["what"]]), dtype=np.float32)
    return x, rng.integers(0, 10, options["samples"])


def kernel(options: dict[str, Any]) -> np.ndarray:
    """Return the weights whose mask is refreshed."""
    return np.random.default_rng(options["seed"]).normal(0.0, 0.02, options["kernel"])


def network(what: str, keras: Any) -> Any:
    """Return the network, not compiled, made with the given module `keras` or `tf_keras`."""
    layers = keras.layers
    stack = [layers.InputLayer(SHAPES[what])]
    if what == "cnn":
        stack += [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
    width = {"mlp": 512, "cnn": 128}[what]
    return keras.Sequential([*stack, layers.Dense(width, activation="relu"), layers.Dense(10)])


def repeated(function: Any, argument: Any, repeats: int) -> list[float]:
    """Return the seconds of each call after two calls that are not measured."""
    seconds = []
    for _ in range(2 + repeats):
        start = time.perf_counter()
        function(argument)
        seconds.append(time.perf_counter() - start)
    return seconds[2:]
