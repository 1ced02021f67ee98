"""The convolutional network of the pruning comparison, and the weights that it was trained to."""

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from harness.batches import Shuffled
from harness.plans import Plan, Recipe, Row, Trial
from harness.store import write_text
from harness.training import run
from keras_sac import pruning


def layers(classes: int, padding: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the layers after the input: the name of each class and its arguments.

    `conv 32, pool, conv 64, pool, dense 128, dense`; kernels of 3x3, ReLU, pools of 2x2.

    Args:
        classes: Units of the last layer, which gives logits.
        padding: Of the convolutions.
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


def network(trial: Trial, padding: str) -> keras.Model:
    """Build the network; the seed of the trial has been set."""
    chain = [getattr(keras.layers, k)(**c) for k, c in layers(trial.split.classes, padding)]
    return keras.Sequential([keras.Input(trial.split.image_shape), *chain])


def plan(trial: Trial, model: keras.Model, recipe: Recipe | None = None, **variant: Any) -> Plan:
    """Plan a training in an order of samples that every backend and tfmot share.

    Args:
        trial: Of the row.
        model: Of the row.
        recipe: Instead of the trial's.
        variant: Other arguments of `Plan`.
    """
    split, chosen = trial.split, recipe or trial.recipe
    return Plan(
        model,
        x_train=Shuffled(split.x_train, split.y_train, chosen.batch_size, trial.seed),
        recipe=recipe,
        measures={"sparsity": lambda: float(pruning.sparsity(model)["sparsity"].iloc[-1])},
        **variant,
    )


def zeros(model: keras.Model) -> dict[str, Any]:
    """Return the shares of zeros as facts: of all kernels, of each, and of whole filters."""
    table = pruning.sparsity(model)
    filters = pruning.filter_sparsity(model).iloc[:-1]
    filters = filters[filters["shape"].map(len) > 2]
    shares = zip(table["path"], table["sparsity"], strict=True)
    return {
        "sparsity": float(table["sparsity"].iloc[-1]),
        "nonzero": int((table["weights"] - table["zeros"]).iloc[-1]),
        "layers": {path: float(share) for path, share in shares if path != "total"},
        "filter_sparsity": float(filters["zero_filters"].sum() / filters["filters"].sum()),
    }


def build_dense(trial: Trial, padding: str) -> Plan:
    """Build the baseline, whose weights at the chosen epoch other rows of the seed start from."""
    model = network(trial, padding)

    def finish(weights: list[np.ndarray]) -> dict[str, Any]:
        trial.shared("dense weights", lambda: weights)
        if trial.folder is not None:
            _save(_path(trial), weights, _origin(trial, padding))
        return zeros(model)

    return plan(trial, model, finish=finish)


def dense_weights(trial: Trial, padding: str) -> list[np.ndarray]:
    """Return the baseline's weights at its chosen epoch; trains it where they are not kept."""

    def find() -> list[np.ndarray]:
        if trial.folder is not None and _path(trial).exists():
            with np.load(_path(trial), allow_pickle=False) as kept:
                if str(kept["origin"]) == _origin(trial, padding):
                    return [kept[f"weight_{i}"] for i in range(len(kept.files) - 1)]
        print("    the dense weights of this seed are not kept: training them", flush=True)
        inner = Trial(trial.seed, trial.split, trial.recipe, trial.folder)
        run(Row("dense", "dense", {}, lambda trial: build_dense(trial, padding)), inner, verbose=0)
        return inner.shared("dense weights", list)

    return trial.shared("dense weights", find)


def _path(trial: Trial) -> Path:
    assert trial.folder is not None
    return trial.folder / "weights" / f"dense-seed{trial.seed}.npz"


def _origin(trial: Trial, padding: str) -> str:
    # A file of another recipe, network or number of samples must not be taken for this one.
    samples = [len(trial.split.x_train), *trial.split.image_shape]
    return json.dumps([keras.config.backend(), trial.recipe.settings(), padding, samples])


def _save(path: Path, weights: list[np.ndarray], origin: str) -> None:
    # Made again when they are missing, so they need not lie in a repository.
    write_text(path.parent / ".gitignore", "*\n")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    arrays: dict[str, Any] = {f"weight_{i}": weight for i, weight in enumerate(weights)}
    try:
        with part.open("wb") as file:
            np.savez(file, origin=np.array(origin), **arrays)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
