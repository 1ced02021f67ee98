"""L1 by soft-thresholding, as an optimizer around another: exact zeros during training."""

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
    averages,
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
    """Makes weights exactly zero by an L1 penalty, while another optimizer trains them.

    `w <- sign(u) max(|u| - lr strength, 0)`, `u` what the inner optimizer made of `w`; with
    `group="filters"` `w_j <- u_j max(1 - lr strength sqrt(n_j) / ||u_j||_2, 0)`, `u_j` the `n_j`
    weights into output channel `j`

    This is the proximal gradient method for `loss + strength sum |w|`, or the group lasso
    `loss + strength sum_j sqrt(n_j) ||w_j||_2`. The gradient of the same penalty, as of
    `keras.regularizers.L1`, makes weights small and lets them change sign; it makes none zero.

    `lr` is the learning rate that the inner optimizer uses in that very update, so schedules and
    `optimizer.learning_rate = ...` count. With an adaptive optimizer it is the same for all
    weights, not divided by their gradients: decoupled, as the weight decay of AdamW.

    What the inner optimizer does not update is left alone: in batches that only accumulate
    gradients or whose gradients were not finite, and variables without a gradient. Where weights
    are zero their moving averages (`use_ema`) are set to zero too. Of several `ProximalL1` inside
    one another each does its part: to give kernels different strengths, or for the sparse group
    lasso, single weights inside and filters outside. With a `PruningOptimizer` inside or outside,
    what is pruned stays zero.

    In a variable of float16 or bfloat16 the threshold itself is not rounded, but a weight that is
    larger than it only moves if its next neighbour is near enough, as in any update of such a
    variable. Mixed precision keeps variables in float32.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        strength: of the penalty, at least 0.
        targets: what is thresholded: a layer or model, a variable, the name of a layer, a regular
            expression searched for in `variable.path`, a callable from a variable to a boolean, or
            a list of those. By default the variables named `kernel`, `embeddings`,
            `recurrent_kernel`, `pointwise_kernel` and `learner` with two axes or more, never a
            depthwise kernel, a bias or the scale of a normalization. `report()` says what is left
            out, and why.
        group: which weights become zero together: `None` for each by itself, or `"filters"`.
        name: of the optimizer.

    Raises:
        ValueError: if an argument is not one of those, or there is a `MultiOptimizer` inside, which
            has no one learning rate; when it is built, if targets match nothing.

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
                "A `ProximalL1` cannot be around a `MultiOptimizer`, which has no one learning "
                "rate. Put one around each of the optimizers inside it."
            )
        chosen = as_selections(targets, Selection)
        super().__init__(inner_optimizer, name=name)
        self.strength = strength
        self.group = group
        self._targets = Opaque(chosen)
        self._chosen: Opaque | None = None

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Choose what is thresholded.

        Args:
            variables: the trainable variables of a model.

        Raises:
            ValueError: if targets match nothing, or it was built before for other variables.
        """
        variables = list(variables)
        if self._chosen is not None:
            self.check_same(variables)
            return
        # First, since it may fail: the optimizer is then as it was.
        selected, skipped = select_kernels(variables, self._targets.value, purpose="thresholded")
        kernels = [kernel for kernel, _ in selected]
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        super().build(variables)
        self._chosen, self._skipped = Opaque(kernels), Opaque(skipped)

    def before_update(
        self, grads: list[Any], variables: Sequence[keras.Variable]
    ) -> tuple[Any, list[Kernel]]:
        """Return the learning rate of the update, and the targets that will be updated."""
        # The update itself counts one further, and with it a schedule.
        rate = ops.convert_to_tensor(self.inner_optimizer.learning_rate)
        # A wrong number of gradients is reported by the inner optimizer.
        pairs = zip(variables, grads, strict=False)
        updated = {self._var_key(variable) for variable, grad in pairs if grad is not None}
        kernels = self._built_choice()
        return rate, [k for k in kernels if self._var_key(k.variable) in updated]

    def after_update(self, updated: Any, before: tuple[Any, list[Kernel]]) -> None:
        """Move the targets towards zero."""
        rate, kernels = before
        if self.strength == 0:
            return
        # No branch: a threshold of 0 changes nothing, and replicas could not assign inside one.
        threshold = ops.where(updated, rate * self.strength, ops.zeros_like(rate))
        new = [self._thresholded(kernel, threshold) for kernel in kernels]
        _backend.assign_all([kernel.variable for kernel in kernels], new)
        moving = averages(self.inner_optimizer)
        if moving is not None:
            masks = [ops.not_equal(value, 0) for value in new]
            _backend.mask_all([moving[kernel.index] for kernel in kernels], masks)

    def report(self) -> "pd.DataFrame":
        """Return what is thresholded and what is not, and why.

        Returns:
            One row for each trainable variable: `path`, `shape`, `weights`, `thresholded`,
            `reason` (why it is not) and `sparsity` (share of zeros now).
        """
        details: dict[int, dict[str, str]] = {id(k.variable): {} for k in self._built_choice()}
        skipped = self._skipped.value
        return table(
            report_rows(self._trainable_variables, skipped, details, purpose="thresholded")
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in a form that loads on every backend."""
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
        own = keras.backend.standardize_dtype(value.dtype)
        # In half precision a small threshold is zero, and the square of a large weight infinite.
        wide = own if own == "float64" else "float32"
        v, t = ops.cast(value, wide), ops.cast(threshold, wide)
        if self.group is None:
            return ops.cast(soft_threshold(v, t), own)
        size = kernel.size // kernel.shape[kernel.output_axis]
        return ops.cast(group_soft_threshold(v, t * size**0.5, kernel.output_axis), own)

    def _built_choice(self) -> list[Kernel]:
        if self._chosen is None:
            raise ValueError(
                "This `ProximalL1` has not chosen its variables yet: it does when it is built, at "
                "the start of `fit` or by `optimizer.build(model.trainable_variables)`."
            )
        return self._chosen.value
