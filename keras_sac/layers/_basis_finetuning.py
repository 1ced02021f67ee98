"""`BasisFinetuning`: train the learner first, then the basis together with it."""

from typing import Any

import keras

from keras_sac._arguments import integer
from keras_sac._model import Selector
from keras_sac.layers._optimizer_state import extended_optimizer
from keras_sac.layers._select_sac_layers import select_sac_layers


class BasisFinetuning(keras.callbacks.Callback):
    """Unfreeze the bases of a model's SAC layers at the beginning of an epoch of `fit`.

    Before that epoch `dL/dB` is neither computed nor applied, so the epochs cost as much as with a
    frozen basis. The optimizer keeps its state (momenta, iterations, learning rate) and gets new
    slots for the bases. `fit` compiles its step once more at that epoch.

    To resume a training that was interrupted after that epoch, load a whole saved model
    (`ModelCheckpoint`, `keras.models.load_model`), whose bases are unfrozen. `BackupAndRestore`
    cannot resume it: it restores weights only, and builds the optimizer before this callback has
    unfrozen the bases.

    Args:
        start_epoch: integer >= 0, the first epoch in which the bases are trained, counted as `fit`
            counts epochs (`initial_epoch` included).
        targets: the SAC layers whose bases are unfrozen: a layer, a layer's name, a regular
            expression on its path, or a list of these. Defaults to all, in nested models too.
        orthonormal: keep the columns orthonormal, by a QR retraction after every update.
        learning_rate: learning rate of the optimizer from that epoch on, for all variables.
            Defaults to the current one.

    Raises:
        ValueError: if `start_epoch` is not an integer >= 0, the model has no SAC layer, `targets`
            select none, or `learning_rate` is given for an optimizer with a schedule.

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
        targets: Selector | list[Selector] | None = None,
        orthonormal: bool = False,
        learning_rate: float | None = None,
    ):
        super().__init__()
        self.start_epoch = integer("start_epoch", start_epoch, 0)
        self.targets = targets
        self.orthonormal = orthonormal
        self.learning_rate = learning_rate

    def on_train_begin(self, logs: Any = None) -> None:
        """Find the layers, so that wrong arguments fail before any training."""
        self._layers = select_sac_layers(self.model, self.targets, purpose="fine-tuned")
        if self.learning_rate is not None:
            _check_learning_rate_can_be_set(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Unfreeze the bases once, at `start_epoch` or at the first epoch of a later `fit`."""
        frozen = [layer for layer in self._layers if not layer.basis_trainable]
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
        # An optimizer with a schedule refuses this; there is no public way to ask for a schedule.
        optimizer.learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    except TypeError as error:
        raise ValueError(
            "`learning_rate` must be None with an optimizer that follows a LearningRateSchedule. "
            "Leave `learning_rate` out, or give the optimizer a number."
        ) from error
