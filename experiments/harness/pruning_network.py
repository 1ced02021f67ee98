"""The convolutional network of the pruning comparison, and its trained dense weights."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.atomic_files import replacing, write_text
from harness.rows import Plan, Row, Trial
from harness.sparse_training import shuffled_plan, sparsity_facts
from harness.training import train_row


def layers(classes: int, padding: str) -> list[tuple[str, dict[str, Any]]]:
    """Return class name and arguments of each layer after the input.

    The network is `conv 32, pool, conv 64, pool, dense 128, dense`, with kernels of 3x3, ReLU,
    pools of 2x2, and logits as outputs.
    """
    convolution = {"kernel_size": 3, "activation": "relu", "padding": padding}
    return [
        ("Conv2D", {"filters": 32, **convolution, "name": "conv_1"}),
        ("MaxPooling2D", {}),
        ("Conv2D", {"filters": 64, **convolution, "name": "conv_2"}),
        ("MaxPooling2D", {}),
        ("Flatten", {}),
        ("Dense", {"units": 128, "activation": "relu", "name": "dense_1"}),
        ("Dense", {"units": classes, "name": "dense_2"}),
    ]


def sequential(shape: tuple[int, int, int], classes: int, padding: str) -> keras.Model:
    """Build the network for images of a shape. The random seed must be set before."""
    chain = [getattr(keras.layers, kind)(**options) for kind, options in layers(classes, padding)]
    return keras.Sequential([keras.Input(shape), *chain])


def network(trial: Trial, padding: str) -> keras.Model:
    """Build the network for the data of a trial. The random seed must be set before."""
    return sequential(trial.split.image_shape, trial.split.classes, padding)


def build_dense(trial: Trial, padding: str) -> Plan:
    """Build the baseline. Other rows of the seed start from its weights at the chosen epoch."""
    model = network(trial, padding)

    def finish(weights: list[np.ndarray]) -> dict[str, Any]:
        trial.shared("dense weights", lambda: weights)
        path = _weights_path(trial)
        if path is not None:
            _save(path, weights, _origin(trial, padding))
        return sparsity_facts(model)

    return shuffled_plan(trial, model, finish=finish)


def trained_network(trial: Trial, padding: str) -> keras.Model:
    """Build the network with the weights of the baseline at its chosen epoch."""
    # First, because it may train the baseline, which clears Keras' state.
    weights = dense_weights(trial, padding)
    model = network(trial, padding)
    model.set_weights(weights)
    return model


def dense_weights(trial: Trial, padding: str) -> list[np.ndarray]:
    """Return the weights of the baseline at its chosen epoch. Train it if they are not stored."""

    def find() -> list[np.ndarray]:
        path = _weights_path(trial)
        kept, reason = _load(path, _origin(trial, padding))
        if kept is not None:
            return kept
        print(f"    the dense weights of this seed are {reason}: training them", flush=True)
        inner = Trial(trial.seed, trial.split, trial.recipe, trial.folder)
        train_row(Row("dense", build_dense, padding=padding), inner, verbose=0)
        return inner.shared("dense weights", list)

    return trial.shared("dense weights", find)


def _weights_path(trial: Trial) -> Path | None:
    folder = trial.folder
    return None if folder is None else folder / "weights" / f"dense-seed{trial.seed}.npz"


def _origin(trial: Trial, padding: str) -> str:
    """Describe the training, so that weights of another one are not used."""
    samples = [len(trial.split.x_train), *trial.split.image_shape]
    return json.dumps([keras.config.backend(), trial.recipe.settings(), padding, samples])


def _load(path: Path | None, origin: str) -> tuple[list[np.ndarray] | None, str]:
    """Return stored weights, or why there are none."""
    if path is None or not path.exists():
        return None, "not stored"
    try:
        # Given a path, NumPy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["origin"]) != origin:
                return None, "those of another training"
            return [kept[f"weight_{i}"] for i in range(len(kept.files) - 1)], ""
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        return None, f"damaged in {path} ({error})"


def _save(path: Path, weights: list[np.ndarray], origin: str) -> None:
    # Missing weights are trained again, so they do not have to be in the repository.
    write_text(path.parent / ".gitignore", "*\n")
    arrays: dict[str, Any] = {f"weight_{i}": weight for i, weight in enumerate(weights)}
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, origin=np.array(origin), **arrays)
