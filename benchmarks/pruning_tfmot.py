"""Child process of `bench_pruning.py`: measure tfmot on tf_keras.

Needs `TF_USE_LEGACY_KERAS=1`.
"""

from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from pruning_problem import data, kernel, network, repeated
from second_epoch import second_epoch
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

sparsity = tfmot.sparsity.keras


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Measure one refresh or the epochs of one network, and return the times."""
    tf_keras.utils.set_random_seed(options["seed"])
    if options["what"] == "refresh":
        return {"seconds": refresh(options)}
    return dict(zip(("dense", "pruned"), training(options), strict=True))


def refresh(options: dict[str, Any]) -> list[float]:
    """Return the seconds of each refresh of one mask, with the code that runs within a step."""
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
    """Return the seconds of alternating epochs without and with pruning."""
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
                tf_keras, model, x, y, options["batch_size"], callbacks=callbacks[name]
            )
            seconds[name].append(taken)
    return seconds["dense"], seconds["pruned"]
