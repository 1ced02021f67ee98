"""`BasisFinetuning`: train the learner first, then the basis with it."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_sac.layers._subspace_layer import SubspaceLayer
from keras_sac.layers._walk import sac_layers


class BasisFinetuning(keras.callbacks.Callback):
    """Un-freezes the bases of a model's SAC layers at the beginning of an epoch of `fit`.

    Until then `dL/dB` is neither computed nor applied: the epochs before cost what a frozen basis
    costs. The optimizer goes on with its state (momenta, iterations, learning rate); the bases
    join it with fresh slots. `fit` compiles its step once more at that epoch.

    Args:
        start_epoch: integer >= 0, the epoch, counted as by `fit` (`initial_epoch` included), from
            which the bases are trained.
        layers: the SAC layers to un-freeze; `None` means all of the model, nested ones included.
        orthonormal: keep the columns orthonormal, by a QR retraction after every update.
        learning_rate: learning rate of the optimizer from then on, for all variables; `None`
            leaves it as it is.

    Raises:
        ValueError: if `start_epoch` is negative, the model has no SAC layer, or `learning_rate`
            is given for an optimizer with a schedule.

    Example:
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
        """Find the layers, so that a model without any fails before it is trained."""
        self._targets = list(self.layers) if self.layers is not None else sac_layers(self.model)
        if not self._targets:
            raise ValueError(
                "`BasisFinetuning` found no SAC layer in the model. Add one (`SACDense`, ...), or "
                "drop the callback."
            )
        if self.learning_rate is not None:
            _check_learning_rate_can_be_set(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Un-freeze the bases once, at `start_epoch` or where a resumed `fit` begins after it."""
        frozen = [layer for layer in self._targets if not layer.basis_trainable]
        if epoch < self.start_epoch or not frozen:
            return
        for layer in frozen:
            layer.unfreeze_basis(orthonormal=self.orthonormal)
        model = self.model
        model.optimizer = extended_optimizer(model.optimizer, model.trainable_variables)
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


def extended_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return the optimizer built for `variables`, with the state it has for those it knew.

    A built Keras optimizer takes no new variables; a new one of the same configuration does.
    Its variables are recognised by their paths, in order where a path occurs more than once.
    """
    state: dict[str, list[Any]] = {}
    for variable in optimizer.variables:
        state.setdefault(variable.path, []).append(keras.ops.convert_to_numpy(variable))
    extended = type(optimizer).from_config(optimizer.get_config())
    extended.build(variables)
    for variable in extended.variables:
        known = state.get(variable.path)
        if known:
            variable.assign(known.pop(0))
    lost = sorted(path for path, values in state.items() if values)
    if lost:
        raise ValueError(
            f"The state of the optimizer {type(optimizer).__name__} could not be carried over to "
            f"the newly trained variables; left over: {lost}. Train in two calls of `fit`, with "
            "`unfreeze_basis()` and `compile` in between."
        )
    return extended
