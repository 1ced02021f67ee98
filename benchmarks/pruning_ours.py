"""Child process of `bench_pruning.py`: measure keras_sac on one backend."""

from typing import Any

import keras
from compiled import compiled
from keras import ops
from pruning_problem import data, kernel, network, repeated
from second_epoch import second_epoch

from keras_sac.analysis import environment
from keras_sac.pruning import ConstantSparsity, PruningOptimizer


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Measure one refresh or the epochs of one network, and return the times."""
    keras.utils.set_random_seed(options["seed"])
    result: dict[str, Any] = {"environment": environment()}
    if options["what"] == "refresh":
        result["seconds"] = refresh(options)
    else:
        result["dense"], result["pruned"], result["memory"] = training(options)
    return result


def refresh(options: dict[str, Any]) -> list[float]:
    """Return the seconds of each refresh of one mask, with the code that runs within a step."""
    layer = keras.layers.Dense(options["kernel"][1])
    layer.build((None, options["kernel"][0]))
    layer.kernel.assign(kernel(options))
    optimizer = PruningOptimizer("sgd", ConstantSparsity(options["sparsity"], 1, frequency=1))
    optimizer.build(layer.trainable_variables)
    masks = optimizer._built_masks()
    sparsity = ops.convert_to_tensor(options["sparsity"], "float32")

    def new_mask(weights: Any) -> Any:
        # Weights that are an argument: XLA could fold constants before the measurement.
        with keras.StatelessScope([(layer.kernel, weights)]):
            return masks._refreshed(masks.kernels, sparsity)[0]

    weights = ops.convert_to_tensor(kernel(options), "float32")
    return repeated(compiled(new_mask), weights, options["repeats"])


def training(options: dict[str, Any]) -> tuple[list[float], list[float], dict[str, int]]:
    """Return the seconds of alternating epochs without and with pruning, and the bytes of masks."""
    x, y = data(options)
    schedule = ConstantSparsity(options["sparsity"], 1, frequency=options["frequency"])
    optimizers = {
        "dense": keras.optimizers.Adam(),
        "pruned": PruningOptimizer(keras.optimizers.Adam(), schedule),
    }
    models = {name: network(options["what"], keras) for name in optimizers}
    for name, model in models.items():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizers[name], loss)
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options["turns"]):
        for name, model in models.items():
            seconds[name].append(second_epoch(keras, model, x, y, options["batch_size"]))
    optimizer = models["pruned"].optimizer
    pruned = set(optimizer.masks)
    weights = [v for v in models["pruned"].trainable_variables if v.path in pruned]
    memory = {
        "masks": sum(nbytes(v) for v in optimizer.variables if v.name.endswith("_mask")),
        "pruned weights": sum(nbytes(v) for v in weights),
    }
    return seconds["dense"], seconds["pruned"], memory


def nbytes(variable: keras.Variable) -> int:
    """Return the bytes of a variable."""
    return int(ops.convert_to_numpy(variable).nbytes)
