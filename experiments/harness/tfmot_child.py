"""Child process of `tfmot_row.py`: trains with tensorflow_model_optimization on tf_keras.

`python tfmot_child.py FOLDER` reads `job.json` and `in.npz` in the folder and writes `out.npz`
with the weights after each epoch and the logs of `fit`. It must not import the harness, which uses
Keras 3.
"""

import json
import pathlib
import sys
import time

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras


def main(folder: pathlib.Path) -> None:
    """Train as `job.json` in the folder says."""
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "in.npz") as archive:
        arrays = dict(archive)
    inputs = tf_keras.Input(arrays["x"].shape[1:])
    chain = [getattr(tf_keras.layers, kind)(**config) for kind, config in job["layers"]]
    network = tf_keras.Sequential([inputs, *chain])
    network.set_weights([arrays[f"weight_{i}"] for i in range(job["weights"])])
    sparsity = tfmot.sparsity.keras
    model = sparsity.prune_low_magnitude(
        network, pruning_schedule=sparsity.PolynomialDecay(**job["schedule"])
    )
    model.compile(
        tf_keras.optimizers.Adam(job["learning_rate"]),
        tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    out = {}
    for epoch, order in enumerate(arrays["orders"]):
        x, y = arrays["x"][order], arrays["y"][order]
        start = time.perf_counter()
        logs = model.fit(
            x,
            y,
            batch_size=job["batch_size"],
            shuffle=False,
            verbose=0,
            callbacks=[sparsity.UpdatePruningStep()],
        ).history
        out[f"logs_{epoch}"] = np.array(
            [time.perf_counter() - start, logs["loss"][0], logs["accuracy"][0]]
        )
        weights = [weight for layer in model.layers for weight in layer.layer.get_weights()]
        out |= {f"epoch_{epoch}_{i}": weight for i, weight in enumerate(weights)}
    versions = {
        "tensorflow": tf.__version__,
        "tf_keras": tf_keras.__version__,
        "tensorflow-model-optimization": tfmot.__version__,
    }
    np.savez(folder / "out.npz", versions=np.array(json.dumps(versions)), **out)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
