"""Pruning during training, as an optimizer around another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._optimizer import (
    Opaque,
    WrappingOptimizer,
    averages,
    nested,
    portable_config,
    unscaled,
)
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._identifiers import get_criterion, get_distribution, get_pattern
from keras_sac.pruning._masks import Masks
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._pruned_kernels import as_targets, select_pruned
from keras_sac.pruning._pruning_report import report
from keras_sac.pruning._schedules import PruningSchedule

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_sac")
class PruningOptimizer(WrappingOptimizer):
    """Prunes a model while another optimizer trains it.

    `w <- m * update(w)`, where at the steps of the schedule first `m <- [score >= k-th largest]`

    After each update of the inner optimizer the weights that the masks leave out are set to zero,
    so the model is exactly sparse after every step and in every checkpoint. Where the schedule
    says so, the masks are made anew before that, from the weights as the inner optimizer left
    them: a masked weight whose update is large comes back. Step `t` of the schedule is the state
    that batch `t` meets, the first batch being 1, as in `tensorflow_model_optimization`.

    It works wherever a Keras optimizer does: `fit` and custom loops, subclassed models, gradient
    accumulation, mixed precision, `tf.distribute`, all three backends. Learning rate, weight decay,
    clipping and moving averages are those of the inner optimizer; moving averages are masked too.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        schedule: a `PruningSchedule`: when masks are refreshed, and how sparse they are. `None`
            refreshes never: weights that are zero when the optimizer is built stay zero, to
            fine-tune a pruned model.
        targets: what is pruned: a layer or model, a variable, the name of a layer, a regular
            expression searched for in `variable.path`, a callable from a variable to a boolean, a
            `Target` with a schedule or pattern of its own, or a list of those. By default the
            variables named `kernel`, `embeddings`, `recurrent_kernel`, `pointwise_kernel` and
            `learner` with two axes or more, never a depthwise kernel, a bias or the scale of a
            normalization. `report()` says what is left out, and why.
        criterion: which weights go first: `"magnitude"`, `"gradient"`, `"obd"`, `"obs"`,
            `"random"`, or a `Criterion`.
        pattern: which weights go together: `None` for each by itself, `"filters"`, `"2:4"`, or a
            `Pattern`.
        distribution: of the sparsity over the kernels. `"uniform"`: each kernel has the sparsity of
            the schedule; `"global"`: all kernels together have it, by one ranking; `"erk"`: all
            together have it, small kernels less (Erdős-Rényi kernel). Kernels with different
            schedules are ranked separately.
        name: of the optimizer.

    Raises:
        ValueError: if an argument is not one of those; when it is built, if targets match nothing
            or a pattern does not fit a kernel.

    Examples:
        >>> from keras_sac.pruning import PolynomialDecay
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> schedule = PolynomialDecay(0.5, 0.75, begin_step=0, end_step=10, frequency=2)
        >>> model.compile(PruningOptimizer("sgd", schedule), "mse")
        >>> x, y = np.ones((64, 8), "float32"), np.ones((64, 4), "float32")
        >>> history = model.fit(x, y, batch_size=4, verbose=0)
        >>> int(np.count_nonzero(model.get_weights()[0]))
        8

    Reference:
        Zhu and Gupta, "To prune, or not to prune", 2017, https://arxiv.org/abs/1710.01878
    """

    serialized = ("inner_optimizer", "schedule", "targets", "criterion", "pattern")

    def __init__(
        self,
        inner_optimizer: keras.optimizers.Optimizer | str,
        schedule: PruningSchedule | None,
        *,
        targets: Any = None,
        criterion: str | Criterion = "magnitude",
        pattern: str | Pattern | None = None,
        distribution: str = "uniform",
        name: str | None = None,
    ):
        if any(isinstance(inner, PruningOptimizer) for inner in nested(inner_optimizer)):
            raise ValueError(
                "A `PruningOptimizer` cannot be inside another. To prune in two ways, give one of "
                "them a list of `Target`s, each with its schedule and pattern."
            )
        if schedule is not None and not isinstance(schedule, PruningSchedule):
            raise ValueError(
                "`schedule` must be a `PruningSchedule`, such as `PolynomialDecay(0.5, 0.8, "
                f"begin_step=0, end_step=2000)`, or `None`. Received: schedule={schedule!r}"
            )
        chosen = as_targets(targets)
        parts = get_criterion(criterion), get_pattern(pattern), get_distribution(distribution)
        super().__init__(inner_optimizer, name=name)
        self.schedule = schedule
        self.criterion, self.pattern, self.distribution = parts
        self._targets = Opaque(chosen)
        self._masks: Masks | None = None

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the masks, and prune if the schedule asks for it at step 1.

        Args:
            variables: the trainable variables of a model.

        Raises:
            ValueError: if targets match nothing, a pattern does not fit, or it was built before
                for other variables.
        """
        variables = list(variables)
        if self._masks is not None:
            self.check_same(variables)
            return
        kernels, skipped = select_pruned(
            variables, self._targets.value, self.schedule, self.pattern
        )
        # First, since it may fail: the optimizer is then as it was.
        self._masks = Masks(kernels, self.criterion, self.distribution, self._make_variable)
        super().build(variables)
        self._skipped = Opaque(skipped)
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        with _backend.eagerly():
            self._masks.begin()

    def before_update(self, grads: list[Any], variables: Sequence[keras.Variable]) -> None:
        """Let the criterion see the gradients."""
        if not self.criterion.needs_gradients:
            return
        masks = self._built_masks()
        pruned = {each.kernel.index for each in masks.kernels}
        seen = {
            index: gradient
            for index, gradient in zip(map(self._get_variable_index, variables), grads, strict=True)
            if gradient is not None and index in pruned
        }
        whole = unscaled(self.inner_optimizer, _backend.sum_over_replicas(list(seen.values())))
        masks.observe(dict(zip(seen, whole, strict=True)))

    def after_update(self, updated: Any, before: Any) -> None:
        """Refresh the masks if they are due, and apply them."""
        masks = self._built_masks()
        step = ops.add(self._iterations, ops.cast(updated, self._iterations.dtype))
        self._iterations.assign(step)
        masks.advance(step + 1, updated)
        moving = averages(self.inner_optimizer)
        if moving is not None:
            masks.apply_to([moving[each.kernel.index] for each in masks.kernels])

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Let the inner optimizer set the final values, and apply the masks to those."""
        super().finalize_variable_values(var_list)
        self._built_masks().apply()

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Boolean masks by the paths of the variables that are pruned."""
        return {
            each.kernel.path: np.array(ops.convert_to_numpy(each.mask))
            for each in self._built_masks().kernels
        }

    @property
    def pruning_step(self) -> int:
        """Number of updates since pruning began."""
        return int(ops.convert_to_numpy(self._iterations))

    @property
    def schedules(self) -> list[PruningSchedule]:
        """The schedules in use, each once."""
        return self._built_masks().schedules

    def report(self) -> "pd.DataFrame":
        """Return what is pruned and what is not, and why.

        Returns:
            One row for each trainable variable: `path`, `shape`, `weights`, `pruned`, `reason` (why
            it is not), `schedule`, `pattern`, `sparsity` (share of zeros now) and `mask_bytes`.
        """
        return report(self._built_masks(), self._trainable_variables, self._skipped.value)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in a form that loads on every backend."""
        serialize = keras.saving.serialize_keras_object
        targets = self._targets.value
        return {
            "name": self.name,
            "inner_optimizer": portable_config(self.inner_optimizer),
            "schedule": serialize(self.schedule),
            "targets": None if targets is None else [serialize(target) for target in targets],
            "criterion": serialize(self.criterion),
            "pattern": serialize(self.pattern),
            "distribution": self.distribution,
        }

    def _make_variable(
        self, name: str, reference: keras.Variable, shape: tuple[int, ...], dtype: str
    ) -> keras.Variable:
        same = tuple(shape) == tuple(reference.shape)
        return self.add_variable(
            shape=shape,
            dtype=dtype,
            name=f"{reference.path.replace('/', '_')}_{name}",
            layout=getattr(reference, "_layout", None) if same else None,
        )

    def _built_masks(self) -> Masks:
        if self._masks is None:
            raise ValueError(
                "This `PruningOptimizer` has no masks yet: they are made when it is built, at the "
                "start of `fit` or by `optimizer.build(model.trainable_variables)`."
            )
        return self._masks
