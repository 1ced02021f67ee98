"""`BasisFinetuning`: train the learner first, then the basis with it."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_sac.layers._optimizer_state import extended_optimizer
from keras_sac.layers._subspace_layer import SubspaceLayer
from keras_sac.layers._walk import sac_layers


class BasisFinetuning(keras.callbacks.Callback):
    """Un-freezes the bases of a model's SAC layers at the beginning of an epoch of `fit`.

    Until then `dL/dB` is neither computed nor applied: the epochs before cost what a frozen basis
    costs. The optimizer goes on with its state (momenta, iterations, learning rate); the bases
    join it with fresh slots. `fit` compiles its step once more at that epoch. A training that was
    killed after it goes on from a whole saved model (`ModelCheckpoint`, `keras.models.load_model`),
    which knows that its bases are trained; `BackupAndRestore` builds the optimizer before this
    callback has un-frozen them, and restores weights only.

    Args:
        start_epoch: integer >= 0, the epoch, counted as by `fit` (`initial_epoch` included), from
            which the bases are trained.
        layers: the SAC layers to un-freeze; `None` means all of the model, nested ones included.
        orthonormal: keep the columns orthonormal, by a QR retraction after every update.
        learning_rate: learning rate of the optimizer from then on, for all variables; `None`
            leaves it as it is.

    Raises:
        ValueError: if `start_epoch` is negative, the model has no SAC layer or not the given ones,
            or `learning_rate` is given for an optimizer with a schedule.

    Examples:
        >>> import keras, numpy as np
        >>> from keras_sac import BasisFinetuning, SACDense, bases
        >>> x = np.random.default_rng(0).normal(size=(64, 10)).astype("float32")
        >>> model = keras.Sequential([SACDense(2, bases.pca(x, rank=3))])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(
        ...     x, x[:, :2], epochs=3, verbose=0, callbacks=[BasisFinetuning(start_epoch=1)]
        ... )
        >>> len(model.trainable_weights)  # learner, bias and now the basis
        3

    Reference:
        Li et al., 2018, "Measuring the Intrinsic Dimension of Objective Landscapes", for the
        frozen half; a trained basis is a low-rank factorization (Denil et al., 2013).
    """

    def __init__(
        self,
        start_epoch: int,
        *,
        layers: Sequence[SubspaceLayer] | None = None,
        orthonormal: bool = False,
        learning_rate: float | None = None,
    ):
        super().__init__()
        if isinstance(start_epoch, bool) or not isinstance(start_epoch, int) or start_epoch < 0:
            raise ValueError(f"`start_epoch` must be an integer >= 0; received {start_epoch!r}.")
        self.start_epoch = start_epoch
        self.layers = layers
        self.orthonormal = orthonormal
        self.learning_rate = learning_rate

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers, so that what cannot be fine-tuned fails before it is trained."""
        found = sac_layers(self.model)
        self._targets = found if self.layers is None else list(self.layers)
        if not found or not self._targets:
            raise ValueError(
                "`BasisFinetuning` found no SAC layer in the model. Add one (`SACDense`, ...), or "
                "drop the callback."
            )
        foreign = [each for each in self._targets if not any(each is layer for layer in found)]
        if foreign:
            raise ValueError(
                f"`layers` must be SAC layers of the trained model; received {foreign}. Those of "
                f"the model are {[layer.name for layer in found]}."
            )
        if self.learning_rate is not None:
            _check_learning_rate_can_be_set(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Un-freeze the bases once, at `start_epoch` or where `fit` begins after it."""
        frozen = [layer for layer in self._targets if not layer.basis_trainable]
        if epoch < self.start_epoch or not frozen:
            return
        model = self.model
        constraints = [layer.basis_constraint for layer in frozen]
        for layer in frozen:
            layer.unfreeze_basis(orthonormal=self.orthonormal)
        try:
            model.optimizer = extended_optimizer(model.optimizer, model.trainable_variables)
        except Exception:
            for layer, constraint in zip(frozen, constraints, strict=True):
                layer.basis_constraint = constraint
                layer.freeze_basis()
            raise
        if self.learning_rate is not None:
            model.optimizer.learning_rate = self.learning_rate
        model.make_train_function(force=True)


def _check_learning_rate_can_be_set(optimizer: keras.optimizers.Optimizer) -> None:
    try:
        # Optimizers with a schedule refuse it, and have no public way to be asked.
        optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    except TypeError as error:
        raise ValueError(
            "`learning_rate` cannot be set: the optimizer follows a LearningRateSchedule. Leave "
            "`learning_rate` out, or give the optimizer a number."
        ) from error
