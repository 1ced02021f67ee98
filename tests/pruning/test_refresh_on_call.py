"""`refreshes="on_call"`: masks of step t from `refresh()` before batch t, as tfmot makes them."""

import keras
import numpy as np
import pytest

from keras_sac import PolynomialDecay, PruningOptimizer
from tests.pruning.problem import BATCH, data, fitted, model, zeros

SCHEDULE = PolynomialDecay(0.2, 0.8, begin_step=2, end_step=17, frequency=3)


class Refresh(keras.callbacks.Callback):
    """Refreshes before each batch, and records the zeros around it."""

    def __init__(self):
        super().__init__()
        self.before, self.after = [], []

    def sync(self):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()

    def on_train_begin(self, logs=None):
        self.model.optimizer.build(self.model.trainable_variables)

    def on_train_batch_begin(self, batch, logs=None):
        self.sync()
        self.model.optimizer.refresh()
        self.before.append(zeros(self.model)[0])

    def on_train_batch_end(self, batch, logs=None):
        self.sync()
        self.after.append(zeros(self.model)[0])


def like_tfmot(steps, rate):
    """SGD in float64; masks change and are applied before the forward pass, and at the end."""
    x, y = data(steps)
    weights = [np.asarray(w, "float64") for w in model().get_weights()]
    masks = [np.ones(w.shape, bool) for w in weights]
    for step in range(1, steps + 1):
        due, sparsity = SCHEDULE(step)
        for i in (0, 2):
            if due:
                size = np.abs(weights[i])
                k = max(int(np.round(size.size * (1 - float(sparsity)))), 1)
                masks[i] = size >= np.sort(size.ravel())[-k]
            weights[i] = weights[i] * masks[i]
        batch = slice((step - 1) * BATCH, step * BATCH)
        hidden = np.tanh(x[batch] @ weights[0] + weights[1])
        error = 2 * (hidden @ weights[2] + weights[3] - y[batch]) / (BATCH * 4)
        back = (error @ weights[2].T) * (1 - hidden**2)
        gradients = [x[batch].T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        weights = [w - rate * g for w, g in zip(weights, gradients, strict=True)]
    return [w * m for w, m in zip(weights, masks, strict=True)], [masks[0], masks[2]]


@pytest.mark.parametrize("steps", [1, 4, 13, 19])
def test_after_t_batches_the_weights_have_the_masks_of_step_t(steps):
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.1), SCHEDULE, refreshes="on_call")
    built = fitted(optimizer, steps=steps, callbacks=[Refresh()]) if steps > 1 else None
    if built is None:
        with pytest.warns(UserWarning, match="pruned nothing in 1 updates"):
            built = fitted(optimizer, steps=steps, callbacks=[Refresh()])
    weights, masks = like_tfmot(steps, 0.1)
    for mine, theirs in zip(built.get_weights(), weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(optimizer.masks.values(), masks, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_between_batches_weights_are_dense_only_where_a_refresh_needs_them():
    refresh = Refresh()
    optimizer = PruningOptimizer(keras.optimizers.SGD(0.1), SCHEDULE, refreshes="on_call")
    fitted(optimizer, steps=19, callbacks=[refresh])
    asked = [SCHEDULE(step) for step in range(1, 21)]
    sparsity = 0.0
    for i in range(19):
        due, new = asked[i]
        sparsity = float(new) if due else sparsity
        assert refresh.before[i] == pytest.approx(sparsity, abs=0.003)
        if asked[i + 1][0]:
            # All but the weights of units that have no gradient any more.
            assert refresh.after[i] < max(sparsity - 0.45, 0.01)
        else:
            assert refresh.after[i] == pytest.approx(sparsity, abs=0.003)


def test_the_choice_is_saved():
    optimizer = PruningOptimizer("sgd", SCHEDULE, refreshes="on_call")
    assert PruningOptimizer.from_config(optimizer.get_config()).refreshes == "on_call"
    with pytest.raises(ValueError, match="`refreshes` must be one of"):
        PruningOptimizer("sgd", SCHEDULE, refreshes="never")
    with pytest.raises(ValueError, match="not built"):
        optimizer.refresh()
