"""Runs the scripts under tfmot itself, in a process of its own: `python tfmot_child.py FOLDER`.

It reads `FOLDER/in.npz` (`x`, `y` and the weights by name) and `FOLDER/scripts.json`, and writes
`FOLDER/<name>.npz` with the results of each script.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras


def gradients(model, x, y):
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    return tape.gradient(value, model.trainable_variables)


def main(folder):
    arrays = dict(np.load(folder / "in.npz"))
    names = {
        "tfmot": tfmot,
        "keras": tf_keras,
        "np": np,
        "x": arrays["x"],
        "y": arrays["y"],
        "given": lambda name: lambda shape, dtype=None, **_: tf.constant(arrays[name]),
        "gradients": gradients,
        "log_dir": str(folder / "logs"),
    }
    for name, script in json.loads((folder / "scripts.json").read_text()).items():
        namespace = {**names, "__name__": "__main__"}
        exec(compile(script, name, "exec"), namespace)
        np.savez(folder / f"{name}.npz", *namespace["result"])
        tf_keras.backend.clear_session()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
