"""The part of `bench_pruning.py` that measures tfmot on tf_keras; a child process.

Needs `TF_USE_LEGACY_KERAS=1`.
"""

import json
import sys
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from pruning_problem import data, kernel, network, repeated
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

from timing import second_epoch

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
    pruning = pruning_impl.Pruning(
        lambda: tf.constant(2),
        [],
        sparsity.ConstantSparsity(options["sparsity"], 1, frequency=1),
        (1, 1),
        "AVG",
    )
    run = tf.function(lambda x: pruning._update_mask(x)[1])
    weights = tf.constant(kernel(options), "float32")
    return repeated(lambda x: run(x).numpy(), weights, options["repeats"])


def training(options: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return the seconds of epochs without and with pruning, in turns."""
    x, y = data(options)
    schedule = sparsity.ConstantSparsity(options["sparsity"], 1, frequency=options["frequency"])
    pruned = sparsity.prune_low_magnitude(network(options["what"], tf_keras), schedule)
    models = {"dense": network(options["what"], tf_keras), "pruned": pruned}
    callbacks = {"dense": [], "pruned": [sparsity.UpdatePruningStep()]}
    for model in models.values():
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf_keras.optimizers.Adam(), loss)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options["turns"]):
        for name, model in models.items():
            taken = second_epoch(
                model, x, y, options["batch_size"], keras=tf_keras, callbacks=callbacks[name]
            )
            seconds[name].append(taken)
    return seconds["dense"], seconds["pruned"]


if __name__ == "__main__":
    main()
