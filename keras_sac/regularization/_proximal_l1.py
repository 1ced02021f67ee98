"""Train with an L1 penalty to exact zeros, by soft-thresholding after each optimizer update."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from keras_sac import _backend
from keras_sac._arguments import at_least_zero
from keras_sac._model import Kernel, Selection, as_selections, report_rows, select_kernels
from keras_sac._optimizer import (
    Opaque,
    WrappingOptimizer,
    moving_averages,
    nested,
    portable_config,
    value_of,
)
from keras_sac._table import table
from keras_sac.regularization._soft_threshold import group_soft_threshold, soft_threshold

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_sac")
class ProximalL1(WrappingOptimizer):
    """Optimizer that makes weights exactly zero by an L1 penalty, around an inner optimizer.

    `w <- sign(u) max(|u| - lr strength, 0)`, where `u` is `w` after the update of the inner
    optimizer; with `group="filters"`, `w_j <- u_j max(1 - lr strength sqrt(n_j) / ||u_j||_2, 0)`,
    where `u_j` are the `n_j` weights into output channel `j`

    This is the proximal gradient method for `loss + strength sum |w|`, or for the group lasso
    `loss + strength sum_j sqrt(n_j) ||w_j||_2`. The gradient of the same penalty, as in
    `keras.regularizers.L1`, makes weights small and lets them change sign, but makes none zero.

    `lr` is the learning rate that the inner optimizer uses in the same update, so learning rate
    schedules and `optimizer.learning_rate = ...` apply. With an adaptive optimizer the threshold is
    the same for all weights and not scaled by their gradients: it is decoupled, like the weight
    decay of AdamW.

    Variables that the inner optimizer does not update are not thresholded: variables without a
    gradient, and all variables while gradients are accumulated or not finite. The moving averages
    (`use_ema`) of zero weights are set to zero too.

    `ProximalL1` optimizers can be nested, to give kernels different strengths, or for the sparse
    group lasso with single weights inside and filters outside. With a `PruningOptimizer` inside or
    outside, pruned weights remain zero.

    For float16 and bfloat16 variables the threshold is computed in float32. As in any update of
    such a variable, a weight only changes if the next representable number is near enough. Mixed
    precision keeps variables in float32.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        strength: strength of the penalty, a number >= 0.
        targets: the kernels to threshold: a layer or model, a variable, the name of a layer, a
            regular expression searched for in `variable.path`, a callable from a variable to a
            boolean, or a list of those. Defaults to the variables named `kernel`, `embeddings`,
            `recurrent_kernel`, `pointwise_kernel` and `learner` with at least two axes. Depthwise
            kernels, biases and scales of normalization layers are skipped. `report()` lists the
            skipped variables and the reasons.
        group: the weights that become zero together: `None` for single weights, or `"filters"`.
        name: name of the optimizer.

    Raises:
        ValueError: if an argument is invalid, or `inner_optimizer` contains a `MultiOptimizer`,
            which has several learning rates; when the optimizer is built, if `targets` match
            nothing.

    Examples:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
        >>> model.compile(ProximalL1(keras.optimizers.SGD(0.1), strength=0.2), "mse")
        >>> x = np.random.default_rng(0).normal(size=(256, 8))
        >>> history = model.fit(x, 3 * x[:, :1], epochs=10, verbose=0)
        >>> np.flatnonzero(model.get_weights()[0]).tolist()
        [0]

    Reference:
        Parikh and Boyd, "Proximal algorithms", 2014, https://doi.org/10.1561/2400000003;
        Yuan and Lin, "Model selection and estimation in regression with grouped variables", 2006,
        https://doi.org/10.1111/j.1467-9868.2005.00532.x
    """

    serialized = ("inner_optimizer", "targets")

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer | str,
        strength: float,
        *,
        targets: Any = None,
        group: str | None = None,
        name: str | None = None,
    ):
        strength = at_least_zero("strength", strength)
        if group not in (None, "filters"):
            raise ValueError(f'`group` must be `None` or "filters". Received: group={group!r}')
        if any(isinstance(o, keras.optimizers.MultiOptimizer) for o in nested(inner_optimizer)):
            raise ValueError(
                "`inner_optimizer` must have one learning rate, so it must not be or contain a "
                f"`MultiOptimizer`. Received: inner_optimizer={type(inner_optimizer).__name__}. "
                "Wrap each optimizer inside the `MultiOptimizer` in a `ProximalL1` instead."
            )
        selections = as_selections(targets, Selection)
        super().__init__(inner_optimizer, name=name)
        self.strength = strength
        self.group = group
        self._targets = Opaque(selections)
        self._kernels: Opaque | None = None

    def select(self, variables: Sequence[keras.Variable]) -> None:
        """Select the kernels to threshold."""
        selected, skipped = select_kernels(variables, self._targets.value, purpose="thresholded")
        self._kernels, self._skipped = Opaque([kernel for kernel, _ in selected]), Opaque(skipped)

    def before_update(
        self, grads: list[Any], variables: Sequence[keras.Variable]
    ) -> tuple[Any, list[Kernel]]:
        """Return the learning rate of the update, and the kernels that will be updated."""
        # Read it before the update, which advances a learning rate schedule.
        rate = ops.convert_to_tensor(self.inner_optimizer.learning_rate)
        # The inner optimizer reports a wrong number of gradients.
        pairs = zip(variables, grads, strict=False)
        updated = {self._var_key(variable) for variable, grad in pairs if grad is not None}
        kernels = self._built_kernels()
        return rate, [k for k in kernels if self._var_key(k.variable) in updated]

    def after_update(self, updated: Any, before: tuple[Any, list[Kernel]]) -> None:
        """Move the updated kernels towards zero."""
        rate, kernels = before
        if self.strength == 0:
            return
        # Not a branch: replicas cannot assign inside one, and a threshold of 0 changes nothing.
        threshold = rate * self.strength
        if updated is not True:
            threshold = ops.where(updated, threshold, ops.zeros_like(threshold))
        new = [self._thresholded(kernel, threshold) for kernel in kernels]
        _backend.assign_all([kernel.variable for kernel in kernels], new)
        averages = moving_averages(self.inner_optimizer)
        if averages is not None:
            masks = [ops.not_equal(value, 0) for value in new]
            _backend.mask_all([averages[kernel.index] for kernel in kernels], masks)

    def report(self) -> "pd.DataFrame":
        """Tabulate which variables are thresholded, and why others are skipped.

        Returns:
            A table with one row for each trainable variable and the columns `path`, `shape`,
            `weights`, `thresholded`, `reason` (why the variable was skipped) and `sparsity`
            (current fraction of zeros).
        """
        details: dict[int, dict[str, str]] = {id(k.variable): {} for k in self._built_kernels()}
        skipped = self._skipped.value
        rows = report_rows(self._trainable_variables, skipped, details, purpose="thresholded")
        return table(rows)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialized to load on every backend."""
        serialize = keras.saving.serialize_keras_object
        targets = self._targets.value
        return {
            "name": self.name,
            "inner_optimizer": portable_config(self.inner_optimizer),
            "strength": self.strength,
            "targets": None if targets is None else [serialize(target) for target in targets],
            "group": self.group,
        }

    def _thresholded(self, kernel: Kernel, threshold: Any) -> Any:
        value = value_of(kernel.variable)
        dtype = keras.backend.standardize_dtype(value.dtype)
        # In float16 a small threshold underflows, and the square of a large weight overflows.
        wide = dtype if dtype == "float64" else "float32"
        v, t = ops.cast(value, wide), ops.cast(threshold, wide)
        if self.group is None:
            return ops.cast(soft_threshold(v, t), dtype)
        size = kernel.size // kernel.shape[kernel.output_axis]
        return ops.cast(group_soft_threshold(v, t * size**0.5, kernel.output_axis), dtype)

    def _built_kernels(self) -> list[Kernel]:
        if self._kernels is None:
            raise ValueError(
                "This `ProximalL1` has not selected its kernels yet, because it is not built. Call "
                "`fit` or `optimizer.build(model.trainable_variables)` first."
            )
        return self._kernels.value
