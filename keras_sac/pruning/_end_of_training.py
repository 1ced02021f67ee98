"""Check at the end of training that a model is pruned, and warn once if it is not."""

import inspect
import warnings
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_sac import _backend
from keras_sac.pruning._masks import Masks


class EndOfTraining:
    """Warns at the end of `fit` of what makes a model other than its masks say.

    Callbacks change weights after the optimizer has seen them for the last time: `EarlyStopping`
    brings the best ones back when the training ends. So the check is the last callback of all.
    """

    def __init__(self):
        self._has_warned_of_nothing = False

    def check(self, masks: Masks | None, steps: int) -> None:
        """Check now, or as the last callback of the `fit` that is running.

        Args:
            masks: the masks; `None` if the optimizer was never built.
            steps: number of updates since the optimizer was built.
        """
        callbacks = callbacks_of_fit()
        if callbacks is None:
            self._warn(masks, steps)
            return
        callbacks.callbacks.append(_LastCallback(lambda: self._warn(masks, steps)))

    def _warn(self, masks: Masks | None, steps: int) -> None:
        problems = [] if masks is None else _problems(masks)
        if not problems and not self._has_warned_of_nothing:
            problems = _nothing_pruned(masks, steps)
            # A loop of short trainings need not hear it each time.
            self._has_warned_of_nothing = bool(problems)
        if problems:
            warnings.warn(" ".join(problems), stacklevel=2)


class _LastCallback(keras.callbacks.Callback):
    """Calls a function once when the training ends."""

    def __init__(self, end: Callable[[], None]):
        super().__init__()
        self._end: Callable[[], None] | None = end

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        # A list of callbacks that the user has made keeps this one for the next training.
        end, self._end = self._end, None
        if end is not None:
            end()


def callbacks_of_fit() -> keras.callbacks.CallbackList | None:
    """Return the callbacks of the `fit` that has called this code; `None` outside of `fit`.

    An optimizer does not know its model, and `fit` passes its callbacks to nobody.
    """
    frame = inspect.currentframe()
    while frame is not None:
        callbacks = frame.f_locals.get("callbacks")
        if frame.f_code.co_name == "fit" and isinstance(callbacks, keras.callbacks.CallbackList):
            return callbacks
        frame = frame.f_back
    return None


def _problems(masks: Masks) -> list[str]:
    """Describe kernels that are NaN, or not zero where they are masked."""
    diverged, dense = [], []
    for each in masks.kernels:
        if not (_backend.is_readable(each.variable) and _backend.is_readable(each.mask)):
            continue
        weights = ops.convert_to_numpy(each.variable)
        kept = ops.convert_to_numpy(each.mask)
        if np.isnan(weights).any():
            diverged.append(each.kernel.path)
        elif np.any(weights[~kept]):
            zeros = np.mean(weights == 0)
            dense.append(f"{each.kernel.path} ({1 - kept.mean():.0%} masked, {zeros:.0%} zero)")
    problems = []
    if diverged:
        problems.append(
            f"Training diverged: there are NaN weights in {', '.join(diverged)}. Masks keep NaN "
            "weights, so that they stay visible. Look for NaN in the data or lower the learning "
            "rate; `keras.callbacks.TerminateOnNaN()` stops such a training."
        )
    if dense:
        problems.append(
            "The weights do not have the zeros of the masks of their `PruningOptimizer`: "
            f"{', '.join(dense)}. Something has set the weights after the last update, such as "
            "`EarlyStopping(restore_best_weights=True)` with a best epoch from before the schedule "
            "ended. `keras_sac.apply_masks(model)` sets the masked weights to zero. To choose "
            "among pruned epochs only, pass `start_from_epoch=` to `EarlyStopping`."
        )
    return problems


def _nothing_pruned(masks: Masks | None, steps: int) -> list[str]:
    if masks is None or steps == 0:
        return [
            "The `PruningOptimizer` made no update in this training, so nothing was pruned. Train "
            "the model with the optimizer that `compile` received, on at least as many batches as "
            "`gradient_accumulation_steps`."
        ]
    if not masks.schedules or not all(map(_backend.is_readable, (k.mask for k in masks.kernels))):
        return []
    if not all(np.all(ops.convert_to_numpy(each.mask)) for each in masks.kernels):
        return []
    return [
        f"The `PruningOptimizer` pruned nothing in {steps} updates: none of its schedules "
        f"({', '.join(map(repr, masks.schedules))}) has asked for a zero yet. Choose an earlier "
        "`begin_step` or a smaller `frequency`, or train longer."
    ]
