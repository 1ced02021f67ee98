"""The networks that are compressed: trained once, kept on disk, and used by every row and seed.

They come from the settings of `NETWORKS` and the split of `SEED` alone, so all seeds of an
experiment, which draw other calibration samples, compress the same network.
"""

import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from harness.atomic_files import write_text
from harness.pruning_network import sequential
from harness.rows import cross_entropy
from harness.splits import Split

SEED = 42
_WEIGHT_DECAY = 5e-4
_WARMUP = 0.15  # fraction of the steps


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and how it is trained: SGD, Nesterov momentum 0.9, warm-up and cosine decay.

    Args:
        build: from the shape of an image and the number of classes to a model with logits.
        epochs: of the training.
        learning_rate: the highest one.
        largest_move: pixels that images are moved by at most, and mirrored; 0 leaves them alone.
    """

    build: Callable[[tuple[int, int, int], int], keras.Model]
    epochs: int
    learning_rate: float
    largest_move: int = 0


def lenet_300_100(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Dense 300, dense 100, dense: LeCun et al., 1998."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            layers.Dense(300, activation="relu", name="dense_1"),
            layers.Dense(100, activation="relu", name="dense_2"),
            layers.Dense(classes, name="dense_3"),
        ]
    )


def lenet_5(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """LeNet-5 as papers on pruning use it (Han et al., 2015): 431,080 parameters on MNIST."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(20, 5, activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu", name="dense_1"),
            layers.Dense(classes, name="dense_2"),
        ]
    )


def mnist_cnn(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 32, pool, conv 64, pool, dense 128, dense: the network of `mnist_pruning.py`."""
    return sequential(shape, classes, "valid")


def cifar_cnn(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Six convolutions, 32-32-64-64-128-128, each with batch normalization, and dense 128."""
    chain = [keras.Input(shape)]
    for index, filters in enumerate((32, 32, 64, 64, 128, 128), start=1):
        chain += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{index}"),
            layers.BatchNormalization(name=f"norm_{index}"),
            layers.Activation("relu"),
        ]
        if index % 2 == 0:
            chain.append(layers.MaxPooling2D())
    chain += [
        layers.Flatten(),
        layers.Dense(128, activation="relu", name="dense_1"),
        layers.Dense(classes, name="dense_2"),
    ]
    return keras.Sequential(chain)


def resnet_20(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """ResNet-20 for CIFAR-10 (He et al., 2016), with 1x1 convolutions as projections."""

    def convolution(x: Any, filters: int, strides: int, name: str, size: int = 3) -> Any:
        x = layers.Conv2D(
            filters, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv"
        )(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    inputs = keras.Input(shape)
    x = layers.Activation("relu")(convolution(inputs, 16, 1, "stem"))
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            name, strides = f"stage_{stage}_{block}", 2 if stage > 1 and block == 1 else 1
            shortcut = x
            if strides > 1:
                shortcut = convolution(x, filters, strides, f"{name}_shortcut", size=1)
            x = layers.Activation("relu")(convolution(x, filters, strides, f"{name}_a"))
            x = convolution(x, filters, 1, f"{name}_b")
            x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="dense")(x))


def digits_cnn(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Conv 16 with batch normalization, pool, conv 32, pool, dense 64, dense: for 8x8 pixels."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv_1"),
            layers.BatchNormalization(momentum=0.9, name="norm_1"),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv_2"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu", name="dense_1"),
            layers.Dense(classes, name="dense_2"),
        ]
    )


NETWORKS = {
    "digits-cnn": Network(digits_cnn, 15, 0.05),
    "lenet-300-100": Network(lenet_300_100, 12, 0.05),
    "lenet-5": Network(lenet_5, 8, 0.02),
    "mnist-cnn": Network(mnist_cnn, 5, 0.02),
    "cifar-cnn": Network(cifar_cnn, 10, 0.05, largest_move=2),
    "resnet-20": Network(resnet_20, 10, 0.1, largest_move=2),
}


def trained_network(name: str, split: Split, folder: Path) -> keras.Model:
    """Return a trained network, compiled with the loss of its logits.

    Args:
        name: in `NETWORKS`.
        split: of `SEED`; the validation part is not used.
        folder: where the networks are kept. A network that is missing, or was trained with other
            settings, is trained and written.
    """
    path, settings = folder / f"{name}.keras", _settings(name, split)
    facts = path.with_suffix(".json")
    if path.exists() and facts.exists() and json.loads(facts.read_text()) == settings:
        model = keras.saving.load_model(path, compile=False)
    else:
        print(f"    training {name}, which is kept in {path}", flush=True)
        model = _train(NETWORKS[name], split)
        # Only weights that cost a training are lost, so they do not have to be in the repository.
        write_text(folder / ".gitignore", "*\n")
        model.save(path)
        write_text(facts, json.dumps(settings, indent=1) + "\n")
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), cross_entropy(), metrics=["accuracy"])
    return model


def _settings(name: str, split: Split) -> dict[str, Any]:
    network = dataclasses.asdict(NETWORKS[name]) | {"build": NETWORKS[name].build.__name__}
    samples = [len(split.x_train), *split.image_shape]
    return {**network, "seed": SEED, "samples": samples, "data": zlib.crc32(split.x_train.data)}


def _train(network: Network, split: Split, batch_size: int = 128) -> keras.Model:
    keras.utils.set_random_seed(SEED)
    model = network.build(split.image_shape, split.classes)
    steps = network.epochs * -(-len(split.x_train) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=steps - int(_WARMUP * steps),
        warmup_target=network.learning_rate,
        warmup_steps=int(_WARMUP * steps),
    )
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=_WEIGHT_DECAY)
    model.compile(optimizer, cross_entropy(), metrics=["accuracy"])
    batches: Any = ImageBatches(split, batch_size, network.largest_move, SEED)
    model.fit(batches, epochs=network.epochs, shuffle=False, verbose=2)  # pyright: ignore
    return model


class ImageBatches(keras.utils.PyDataset):
    """Shuffled batches of the training part. Pass `shuffle=False` to `fit` with them.

    Args:
        split: the data.
        batch_size: samples per batch.
        largest_move: pixels that images are moved by at most, and mirrored; 0 leaves them alone.
        seed: of the order and of the augmentation.
    """

    def __init__(self, split: Split, batch_size: int, largest_move: int, seed: int):
        super().__init__()
        self._split, self._batch_size, self._move = split, batch_size, largest_move
        self._random = np.random.default_rng(seed)
        self._order = self._random.permutation(len(split.x_train))

    def __len__(self) -> int:
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        x = self._split.x_train[chosen]
        if self._move:
            x = _augmented(x, self._move, self._random)
        return x, self._split.y_train[chosen]

    def on_epoch_end(self) -> None:
        """Draw a new order."""
        self._order = self._random.permutation(len(self._order))


def _augmented(images: np.ndarray, margin: int, random: np.random.Generator) -> np.ndarray:
    mirrored = np.where(random.random((len(images), 1, 1, 1)) < 0.5, images[:, :, ::-1], images)
    pads = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(mirrored, pads), images.shape[1:3], axis=(1, 2)
    )
    top, left = random.integers(0, 2 * margin + 1, (2, len(images)))
    return np.moveaxis(windows[np.arange(len(images)), top, left], 1, -1)
