"""Script: train a pruned model with `BackupAndRestore`, and kill the process at a given step."""

import os
import pathlib
import signal
import sys

import keras
import numpy as np

from keras_sac import PolynomialDecay, PruningOptimizer
from tests.pruning.problem import BATCH, data, model

EPOCHS = 4
STEPS = 20


class Killer(keras.callbacks.Callback):
    """Sends SIGKILL, which nothing can catch, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == STEPS // 2:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Train; write masks and weights."""
    folder, criterion, kill_in_epoch = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    schedule = PolynomialDecay(0.5, 0.8, begin_step=5, end_step=70, frequency=7)
    built = model()
    optimizer = PruningOptimizer(keras.optimizers.Adam(0.01), schedule, criterion=criterion)
    built.compile(optimizer, "mse")
    x, y = data(STEPS)
    checkpoint = keras.callbacks.ModelCheckpoint(str(folder / "epoch-{epoch}.keras"))
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"))
    built.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[backup, checkpoint, Killer(kill_in_epoch)],
    )
    arrays = {f"weight_{i}": w for i, w in enumerate(built.get_weights())}
    arrays |= {f"mask_{i}": m for i, m in enumerate(optimizer.masks.values())}
    np.savez(folder / "result.npz", step=optimizer.pruning_step, **arrays)


if __name__ == "__main__":
    main()
