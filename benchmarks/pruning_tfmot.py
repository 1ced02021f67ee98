"""The part of `bench_pruning.py` that measures tfmot on tf_keras; a child process.

Needs `TF_USE_LEGACY_KERAS=1`.
"""

import json
import sys
import time
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

sparsity = tfmot.sparsity.keras


def main() -> None:
    """Read the options as JSON from the command line, print the figures as JSON."""
    options = json.loads(sys.argv[1])
    tf_keras.utils.set_random_seed(options["seed"])
    if options["what"] == "refresh":
        result: dict[str, Any] = {"seconds": refresh(options)}
    else:
        result = dict(zip(("dense", "pruned"), training(options), strict=True))
    print("RESULT " + json.dumps(result))


def refresh(options: dict[str, Any]) -> list[float]:
    """Return the seconds of each refresh of one mask, by the code that runs inside a step."""
    kernel = np.random.default_rng(options["seed"]).normal(0.0, 0.02, options["kernel"])
    weights = tf.constant(kernel, "float32")
    pruning = pruning_impl.Pruning(
        lambda: tf.constant(2),
        [],
        sparsity.ConstantSparsity(options["sparsity"], 1, frequency=1),
        (1, 1),
        "AVG",
    )
    run = tf.function(lambda x: pruning._update_mask(x)[1])
    run(weights).numpy(), run(weights).numpy()
    seconds = []
    for _ in range(options["repeats"]):
        start = time.perf_counter()
        run(weights).numpy()
        seconds.append(time.perf_counter() - start)
    return seconds


class EpochClock(tf_keras.callbacks.Callback):
    """The seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop it."""
        self.seconds.append(time.perf_counter() - self._start)


def training(options: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return the seconds of epochs without and with pruning, in turns."""
    rng = np.random.default_rng(options["seed"])
    shape = {"mlp": (3072,), "cnn": (28, 28, 1)}[options["what"]]
    x = rng.standard_normal((options["samples"], *shape), dtype=np.float32)
    y = rng.integers(0, 10, options["samples"])
    schedule = sparsity.ConstantSparsity(options["sparsity"], 1, frequency=options["frequency"])
    pruned = sparsity.prune_low_magnitude(network(options["what"]), schedule)
    models = {"dense": network(options["what"]), "pruned": pruned}
    for model in models.values():
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.Adam(), loss)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options["turns"]):
        for name, model in models.items():
            clock = EpochClock()
            callbacks = [clock, sparsity.UpdatePruningStep()]
            model.fit(
                x,
                y,
                batch_size=options["batch_size"],
                epochs=2,
                verbose=0,
                callbacks=callbacks if name == "pruned" else [clock],
            )
            seconds[name].append(clock.seconds[-1])
    return seconds["dense"], seconds["pruned"]


def network(what: str) -> tf_keras.Model:
    """Return the network, not compiled."""
    layers = tf_keras.layers
    if what == "mlp":
        stack = [layers.InputLayer((3072,)), layers.Dense(512, activation="relu")]
    else:
        stack = [
            layers.InputLayer((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
        ]
    return tf_keras.Sequential([*stack, layers.Dense(10)])


if __name__ == "__main__":
    main()
