"""Trains with the real tfmot, in a process of its own: tf_keras and Keras 3 do not mix in one.

`python tfmot_child.py FOLDER` reads `FOLDER/cases.json`, a list of cases as `cases.Case.to_json`
writes them, and for each `FOLDER/<name>.in.npz` (the batches and the initial weights); it writes
`FOLDER/<name>.out.npz`. Step t is tfmot's: the first batch is step 1, and the masks of step t are
those of its forward pass. Per layer with weights:

- `raw/<layer>/<i>` `(steps + 1, ...)`: the weights as the optimizer left them after t batches,
  `raw[0]` the initial ones;
- `mask/<layer>` `(steps + 2, ...)`: the mask of step t; `mask[0]` is tfmot's start, all ones, and
  `mask[steps + 1]` what one more forward pass would use;
- `final/<layer>/<i>`: the weights after `fit`, when tfmot has masked them at the end of the epoch.
"""

import json
import pathlib
import sys

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

PRUNING = tfmot.sparsity.keras


class Recorder(tf_keras.callbacks.Callback):
    """Keeps weights and masks of every step. Must come before `UpdatePruningStep`, see `fit`."""

    def __init__(self, wrappers):
        super().__init__()
        self.wrappers = wrappers
        self.weights = {name: [layer.get_weights()] for name, layer in wrappers.items()}
        self.masks = {name: [self.mask(layer)] for name, layer in wrappers.items()}

    @staticmethod
    def mask(layer):
        ((_, mask, _),) = layer.pruning_vars
        return mask.numpy() != 0

    def on_train_batch_end(self, batch, logs=None):
        for name, layer in self.wrappers.items():
            self.weights[name].append(layer.get_weights())
            self.masks[name].append(self.mask(layer))

    def record_next_mask(self):
        """What the forward pass of the next batch would do before anything else.

        Its masks come from the weights as the last update left them: `on_epoch_end` has masked
        them since, which training on would not have done.
        """
        for name, layer in self.wrappers.items():
            masked = layer.get_weights()
            layer.set_weights(self.weights[name][-1])
            layer.pruning_step.assign_add(1)
            layer.pruning_obj.conditional_mask_update()
            self.masks[name].append(self.mask(layer))
            layer.set_weights(masked)


def build(case, arrays):
    """The model of the case with its initial weights, wrapped by tfmot; and the wrappers."""
    model = tf_keras.Sequential([tf_keras.Input(tuple(case["input_shape"]))])
    for kind, config in case["layers"]:
        model.add(getattr(tf_keras.layers, kind)(**config))
    for layer in model.layers:
        if layer.weights:
            names = [f"{layer.name}/{i}" for i in range(len(layer.weights))]
            layer.set_weights([arrays[name] for name in names])
    kind, config = case["schedule"]
    model = PRUNING.prune_low_magnitude(
        model, pruning_schedule=getattr(PRUNING, kind)(**config), **case["tfmot_pattern"]
    )
    return model, {layer.layer.name: layer for layer in model.layers if layer.layer.weights}


def fit(case, arrays):
    model, wrappers = build(case, arrays)
    kind, config = case["optimizer"]
    model.compile(
        optimizer=getattr(tf_keras.optimizers, kind)(**config),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    recorder = Recorder(wrappers)
    batches = tf.data.Dataset.from_tensor_slices((arrays["x"], arrays["y"]))
    model.fit(
        batches.batch(case["batch_size"], drop_remainder=True),
        epochs=case["epochs"],
        steps_per_epoch=case["steps"] // case["epochs"],
        shuffle=False,
        verbose=0,
        callbacks=[recorder, PRUNING.UpdatePruningStep()],
    )
    out = {}
    for name, layer in wrappers.items():
        for i, weight in enumerate(layer.get_weights()):
            out[f"final/{name}/{i}"] = weight
            out[f"raw/{name}/{i}"] = np.stack([weights[i] for weights in recorder.weights[name]])
    recorder.record_next_mask()
    for name, masks in recorder.masks.items():
        out[f"mask/{name}"] = np.stack(masks)
    return out


def main(folder):
    for case in json.loads((folder / "cases.json").read_text()):
        with np.load(folder / f"{case['name']}.in.npz") as arrays:
            out = fit(case, arrays)
        np.savez(folder / f"{case['name']}.out.npz", **out)
        tf_keras.backend.clear_session()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
