"""Prune a model during training, by an optimizer that wraps another optimizer."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac._arguments import one_of
from keras_sac._model import report_rows
from keras_sac._optimizer import (
    Opaque,
    WrappingOptimizer,
    moving_averages,
    nested,
    portable_config,
    unscaled,
)
from keras_sac._table import table
from keras_sac.pruning._criteria import Criterion
from keras_sac.pruning._end_of_training import EndOfTraining
from keras_sac.pruning._identifiers import get_criterion, get_distribution, get_pattern
from keras_sac.pruning._masks import Masks
from keras_sac.pruning._patterns import Pattern
from keras_sac.pruning._pruned_kernels import as_targets, select_pruned
from keras_sac.pruning._schedules import PruningSchedule

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_sac")
class PruningOptimizer(WrappingOptimizer):
    """Optimizer that prunes a model while an inner optimizer trains it.

    `w <- m * update(w)`, and at the steps of the schedule first `m <- [score >= k-th largest]`

    After each update of the inner optimizer, the masks set the pruned weights to zero. So the model
    is exactly sparse after every step and in every checkpoint. At the steps of the schedule the
    masks are refreshed first, from the weights after the update: a pruned weight with a large
    update is kept from then on.

    The masks of step `t` apply to batch `t`, counted from 1, as in
    `tensorflow_model_optimization` (tfmot). They are there before batch `t`: after `T` batches the
    weights have the masks of step `T + 1`. tfmot refreshes when batch `t` begins, and leaves pruned
    weights nonzero between batches. `refreshes="on_call"` does the same, for who looks between
    batches: a step applies the masks unless the next step refreshes them, and `refresh()`, called
    before each batch, refreshes and applies them. After `T` batches the weights then have the masks
    of step `T`, once `apply_masks()` or the end of `fit` has applied them.

    At the end of `fit` a warning says if nothing was pruned, if weights are NaN, or if a callback
    has brought back weights without the zeros of the masks. NaN weights are never masked, so that
    they stay visible.

    The optimizer works wherever a Keras optimizer does: `fit`, custom training loops, subclassed
    models, gradient accumulation, mixed precision, `tf.distribute`, and all three backends. The
    inner optimizer sets the learning rate, weight decay, clipping and moving averages; moving
    averages are masked too.

    Args:
        inner_optimizer: a Keras optimizer, or its name.
        schedule: a `PruningSchedule`, or `None` to keep the zeros that the model has when the
            optimizer is built, which fine-tunes a pruned model.
        targets: the kernels to prune: a layer or model, a variable, the name of a layer, a regular
            expression searched for in `variable.path`, a callable from a variable to a boolean, a
            `Target` with its own schedule or pattern, or a list of those. Defaults to the variables
            named `kernel`, `embeddings`, `recurrent_kernel`, `pointwise_kernel` and `learner` with
            at least two axes. Depthwise kernels, biases and scales of normalization layers are
            skipped. `report()` lists the skipped variables and the reasons.
        criterion: the score that ranks the weights: `"magnitude"`, `"gradient"`, `"obd"`, `"obs"`,
            `"random"`, or a `Criterion`.
        pattern: the weights that are pruned together: `None` or `"unstructured"` for single
            weights, `"filters"`, `"2:4"`, or a `Pattern`.
        distribution: how the sparsity is distributed over the kernels. `"uniform"`: each kernel has
            the sparsity of the schedule. `"global"`: one ranking of all kernels, which together
            have the sparsity. `"erk"`: all kernels together have the sparsity, and small kernels
            are less sparse (Erdős-Rényi kernel). Kernels with different schedules are ranked
            separately.
        refreshes: when due masks are refreshed. `"after_update"`: inside the step. `"on_call"`: by
            `refresh()`, which is called before each batch.
        name: name of the optimizer.

    Raises:
        ValueError: if an argument is invalid; when the optimizer is built, if `targets` match
            nothing or a pattern does not fit a kernel.

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

    not_loaded = (
        "The schedule begins again at step 1, with masks from the present weights, and pruned "
        "weights may return. To keep the zeros, compile with `PruningOptimizer(inner_optimizer, "
        "schedule=None)`."
    )
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
        refreshes: str = "after_update",
        name: str | None = None,
    ):
        if any(isinstance(inner, PruningOptimizer) for inner in nested(inner_optimizer)):
            raise ValueError(
                "`inner_optimizer` must not be or contain a `PruningOptimizer`. Received: "
                f"inner_optimizer={type(inner_optimizer).__name__}. To prune kernels in different "
                "ways, pass `targets=` a list of `Target`s, each with its schedule and pattern."
            )
        if schedule is not None and not isinstance(schedule, PruningSchedule):
            raise ValueError(
                "`schedule` must be a `PruningSchedule`, such as `PolynomialDecay(0.5, 0.8, "
                f"begin_step=0, end_step=2000)`, or `None`. Received: schedule={schedule!r}"
            )
        # Check the arguments first: `super().__init__` must come before attributes are set.
        selected = Opaque(as_targets(targets))
        checked = get_criterion(criterion), get_pattern(pattern), get_distribution(distribution)
        super().__init__(inner_optimizer, name=name)
        self.schedule = schedule
        self.criterion, self.pattern, self.distribution = checked
        self._targets = selected
        self.refreshes = one_of("refreshes", refreshes, ("after_update", "on_call"))
        self._masks: Masks | None = None
        self._count = _backend.StepCount(self._iterations)
        # Whether a training step has called this optimizer, in this process.
        self.has_begun = False
        self._is_refreshed, self._steps_before = False, 0
        self._end = EndOfTraining()

    def select(self, variables: Sequence[keras.Variable]) -> None:
        """Create the masks and the variables of the criterion."""
        kernels, skipped = select_pruned(
            variables, self._targets.value, self.schedule, self.pattern
        )
        self._masks = Masks(kernels, self.criterion, self.distribution, self._create_variable)
        self._skipped = Opaque(skipped)

    def begin(self) -> None:
        """Initialize the masks, and prune if the schedule refreshes at step 1."""
        self._built_masks().begin()

    def before_update(self, grads: list[Any], variables: Sequence[keras.Variable]) -> None:
        """Update the criterion with the gradients."""
        masks = self._built_masks()
        if not self.has_begun:
            self.has_begun = True
            if self._count.on_host == 0:
                # `DistributedDataParallel` may have replaced the weights since the masks were made.
                masks.begin()
        if not self.criterion.needs_gradients:
            return
        rows = {each.kernel.index: each.kernel.shape[0] for each in masks.kernels}
        relevant = {
            index: _backend.dense(gradient, rows[index])
            for index, gradient in zip(map(self._get_variable_index, variables), grads, strict=True)
            if gradient is not None and index in rows
        }
        summed = _backend.sum_over_replicas(list(relevant.values()))
        gradients = unscaled(self.inner_optimizer, summed)
        masks.observe(dict(zip(relevant, gradients, strict=True)))

    def after_update(self, updated: Any, before: Any) -> None:
        """Refresh the masks that are due, and apply all masks."""
        masks = self._built_masks()
        next_step = self._count.advance(updated) + 1
        if self.refreshes == "on_call":
            masks.apply_unless_due(next_step)
        else:
            masks.advance(next_step, updated)
        self._apply_to_averages(masks)

    def refresh(self) -> None:
        """Refresh the masks that are due for the next batch, and apply all masks.

        With `refreshes="on_call"` call this before each batch, outside of the compiled step, once
        `optimizer.build(model.trainable_variables)` has made the masks. In a callback on JAX, call
        `model.jax_state_sync()` first.

        Raises:
            ValueError: if the optimizer is not built.
        """
        self._is_refreshed = True
        self._built_masks().refresh(self.pruning_step + 1)

    def is_due(self, step: int) -> bool:
        """Return whether a schedule refreshes masks at a step, without waiting for the device."""
        return self._built_masks().is_due(step)

    def apply_masks(self) -> None:
        """Set the masked weights, and their moving averages, to zero.

        Raises:
            ValueError: if the optimizer is not built.
        """
        masks = self._built_masks()
        masks.apply()
        self._apply_to_averages(masks)

    def _apply_to_averages(self, masks: Masks) -> None:
        averages = moving_averages(self.inner_optimizer)
        if averages is not None:
            masks.apply_to([averages[each.kernel.index] for each in masks.kernels])

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Let the inner optimizer set the final values, and apply the masks to them.

        Warns if the model is not pruned as its masks say when `fit` ends, and with
        `refreshes="on_call"` if a refresh was due and `refresh()` was not called.
        """
        if not self.built:
            self._end.check(None, 0)
            return
        if not all(map(_backend.has_value, var_list)):
            # `fit` on JAX has stopped with an error, and left the variables without values.
            return
        super().finalize_variable_values(var_list)
        masks, steps = self._built_masks(), self.pruning_step
        masks.apply()
        self._check_refreshed(masks, steps)
        self._end.check(masks, steps)

    def _check_refreshed(self, masks: Masks, steps: int) -> None:
        steps_before, self._steps_before = self._steps_before, steps
        called, self._is_refreshed = self._is_refreshed, False
        # `build` refreshes the masks of step 1.
        passed = range(max(steps_before, 1) + 1, steps + 1)
        if self.refreshes == "on_call" and not called and any(map(masks.is_due, passed)):
            warnings.warn(
                'The masks were not refreshed in this training: `refreshes="on_call"` waits for '
                "`optimizer.refresh()` before each batch. Call it in a callback, as "
                "`keras_sac.tfmot.sparsity.keras.UpdatePruningStep()` does.",
                stacklevel=2,
            )

    def _assigned(self, values: list[np.ndarray]) -> bool:
        fits = super()._assigned(values)
        self._steps_before = self.pruning_step
        return fits

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """A dict from the path of each pruned variable to its mask, true for kept weights."""
        return {
            each.kernel.path: np.array(ops.convert_to_numpy(each.mask))
            for each in self._built_masks().kernels
        }

    @property
    def pruning_step(self) -> int:
        """Number of updates since the optimizer was built."""
        return int(ops.convert_to_numpy(self._iterations))

    @property
    def schedules(self) -> list[PruningSchedule]:
        """The schedules in use, each once."""
        return self._built_masks().schedules

    def report(self) -> "pd.DataFrame":
        """Tabulate which variables are pruned, and why others are skipped.

        Returns:
            A table with one row for each trainable variable and the columns `path`, `shape`,
            `weights`, `pruned`, `reason` (why the variable was skipped), `schedule`, `pattern`,
            `sparsity` (current fraction of zeros) and `mask_bytes`.
        """
        details = {
            id(each.variable): {
                "schedule": "zeros stay" if each.schedule is None else repr(each.schedule),
                "pattern": repr(each.pattern),
            }
            for each in self._built_masks().kernels
        }
        skipped = self._skipped.value
        rows = report_rows(self._trainable_variables, skipped, details, purpose="pruned")
        report = table(rows)
        # A mask has one byte for each weight.
        report["mask_bytes"] = report["weights"].where(report["pruned"], 0)
        return report

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, serialized to load on every backend."""
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
            "refreshes": self.refreshes,
        }

    def __repr__(self) -> str:
        return (
            f"PruningOptimizer({type(self.inner_optimizer).__name__}, {self.schedule}, "
            f"criterion={self.criterion}, pattern={self.pattern}, "
            f"distribution={self.distribution!r})"
        )

    def _create_variable(
        self, name: str, reference: keras.Variable, shape: tuple[int, ...], dtype: str
    ) -> keras.Variable:
        same_shape = tuple(shape) == tuple(reference.shape)
        return self.add_variable(
            shape=shape,
            dtype=dtype,
            name=f"{reference.path.replace('/', '_')}_{name}",
            layout=getattr(reference, "_layout", None) if same_shape else None,
        )

    def _built_masks(self) -> Masks:
        if self._masks is None:
            raise ValueError(
                "This `PruningOptimizer` has no masks yet, because it is not built. Call `fit` or "
                "`optimizer.build(model.trainable_variables)` first."
            )
        return self._masks


def pruning_optimizer(model: keras.Model) -> PruningOptimizer | None:
    """Return the `PruningOptimizer` that a model is compiled with, also inside other optimizers."""
    optimizer = getattr(model, "optimizer", None)
    found = () if optimizer is None else nested(optimizer)
    return next((each for each in found if isinstance(each, PruningOptimizer)), None)


def required_pruning_optimizer(model: keras.Model) -> PruningOptimizer:
    """Return the `PruningOptimizer` of a model.

    Raises:
        ValueError: if there is none.
    """
    found = pruning_optimizer(model)
    if found is not None:
        return found
    optimizer = getattr(model, "optimizer", None)
    raise ValueError(
        "The model must be compiled with a `PruningOptimizer`. Received: "
        f"optimizer={type(optimizer).__name__}. For other models use "
        "`keras_sac.pruning.sparsity(model)`."
    )
